{{/* All secrets: the file each is in, the variable that names the file, and the components that get it. */}}
{{- define "moorage.secretTable" -}}
encryptionKeys: {file: encryption-keys, variable: MOORAGE_ENCRYPTION__KEYS_FILE, for: [worker, api, codec-server, setup, test]}
controlPlaneApiKey: {file: control-plane-api-key, variable: MOORAGE_CONTROL_PLANE__API_KEY_FILE, for: [worker, setup, test]}
identityToken: {file: identity-token, variable: MOORAGE_IDENTITY__TOKEN_FILE, for: [worker, setup, test]}
identityClientSecret: {file: identity-client-secret, variable: MOORAGE_IDENTITY__CLIENT_SECRET_FILE, for: [worker, setup, test]}
identityPrivateKey: {file: identity-private-key, variable: MOORAGE_IDENTITY__PRIVATE_KEY_FILE, for: [worker, setup, test]}
apiControlPlaneApiKey: {file: api-control-plane-api-key, variable: MOORAGE_API__CONTROL_PLANE_API_KEY_FILE, for: [api]}
apiIdentityToken: {file: api-identity-token, variable: MOORAGE_API__IDENTITY_TOKEN_FILE, for: [api]}
apiIdentityClientSecret: {file: api-identity-client-secret, variable: MOORAGE_API__IDENTITY_CLIENT_SECRET_FILE, for: [api]}
apiIdentityPrivateKey: {file: api-identity-private-key, variable: MOORAGE_API__IDENTITY_PRIVATE_KEY_FILE, for: [api]}
apiTokens: {file: api-tokens, variable: MOORAGE_API__TOKENS_FILE, for: [api, codec-server, setup, test]}
noticesWebhookSecret: {file: notices-webhook-secret, variable: MOORAGE_NOTICES__WEBHOOK_SECRET_FILE, for: [worker]}
noticesSlackUrl: {file: notices-slack-url, variable: MOORAGE_NOTICES__SLACK_URL_FILE, for: [worker]}
noticesSmtpPassword: {file: notices-smtp-password, variable: MOORAGE_NOTICES__SMTP_PASSWORD_FILE, for: [worker]}
auditLogWebhookSecret: {file: audit-log-webhook-secret, variable: MOORAGE_AUDIT_LOG__WEBHOOK_SECRET_FILE, for: [worker]}
# A variable and no file: Temporal's own settings have no file for it.
temporalApiKey: {file: temporal-api-key, variable: "", for: []}
{{- end -}}

{{/* The secrets of a component, by name. The API gets the worker's credentials where it has none. */}}
{{- define "moorage.secretsOf" -}}
{{- $given := .root.Values.secrets -}}
{{- $lent := list -}}
{{- if eq .component "api" -}}
{{- if .root.Values.settings.identity -}}
{{- if not (or $given.apiIdentityToken $given.apiIdentityClientSecret $given.apiIdentityPrivateKey) -}}
{{- $lent = list "identityToken" "identityClientSecret" "identityPrivateKey" -}}
{{- end -}}
{{- else if not $given.apiControlPlaneApiKey -}}
{{- $lent = list "controlPlaneApiKey" -}}
{{- end -}}
{{- end -}}
{{- $mine := dict -}}
{{- range $name, $secret := fromYaml (include "moorage.secretTable" .) -}}
{{- $isMine := ternary (eq $name "encryptionKeys") (or (has $.component $secret.for) (has $name $lent)) (hasKey $ "host") -}}
{{- if and (index $given $name) $isMine -}}
{{- $_ := set $mine $name $secret -}}
{{- end -}}
{{- end -}}
{{- toYaml $mine -}}
{{- end -}}

{{/* Name and key of a secret: root, name and file. */}}
{{- define "moorage.secretRef" -}}
{{- $given := index .root.Values.secrets .name -}}
{{- if $given.existingSecret -}}
{{- dict "name" $given.existingSecret "key" (default .file $given.key) | toJson -}}
{{- else -}}
{{- dict "name" (printf "%s-secrets" (include "moorage.fullname" .root)) "key" .file | toJson -}}
{{- end -}}
{{- end -}}

{{/* One volume with all secret files of a component, and the kubeconfigs of the hosts that it may use. */}}
{{- define "moorage.secretVolume" -}}
- name: secrets
  projected:
    # Readable for the group of the pod, and writable for no user.
    defaultMode: 0440
    sources:
      {{- range $name, $secret := fromYaml (include "moorage.secretsOf" .) }}
      {{- if $secret.variable }}
      {{- $ref := fromJson (include "moorage.secretRef" (dict "root" $.root "name" $name "file" $secret.file)) }}
      - secret: {name: {{ $ref.name }}, items: [{key: {{ $ref.key }}, path: {{ $secret.file }}}]}
      {{- end }}
      {{- end }}
      {{- if ne .component "codec-server" }}
      {{- range $host, $accounts := .root.Values.hostKubeconfigs }}
      {{- $isOwn := dig "own_worker" false (index $.root.Values.settings.hosts $host | default dict) }}
      {{- if eq (default "" $.host) (ternary $host "" $isOwn) }}
      {{- $account := ternary $accounts.api $accounts.worker (eq $.component "api") }}
      - secret: {name: {{ $account.existingSecret }}, items: [{key: {{ default "kubeconfig" $account.key }}, path: {{ $host }}.kubeconfig}]}
      {{- end }}
      {{- end }}
      {{- end }}
{{- end -}}

{{/* Stop with a sentence where values contradict each other in a way that the schema cannot say. */}}
{{- define "moorage.check" -}}
{{- range $name, $given := .Values.secrets -}}
{{- if and $given.existingSecret $given.value -}}{{- fail (printf "secrets.%s has existingSecret and value: give one of them" $name) -}}{{- end -}}
{{- if not (or $given.existingSecret $given.value) -}}{{- fail (printf "secrets.%s has neither existingSecret nor value: give one of them" $name) -}}{{- end -}}
{{- end -}}
{{- range $host, $_ := .Values.hostKubeconfigs -}}
{{- if not (hasKey $.Values.settings.hosts $host) -}}{{- fail (printf "hostKubeconfigs.%s is for no host: settings.hosts has %s" $host (keys $.Values.settings.hosts | sortAlpha | join ", ")) -}}{{- end -}}
{{- $own := dig "own_worker" false (index $.Values.settings.hosts $host | default dict) -}}
{{- if not (or $own (hasKey (index $.Values.hostKubeconfigs $host) "api")) -}}{{- fail (printf "hostKubeconfigs.%s.api is missing: only a host with own_worker needs none" $host) -}}{{- end -}}
{{- if and $own (not (hasKey $.Values.hostWorkers $host)) -}}{{- fail (printf "hostKubeconfigs.%s is for no process: settings.hosts.%s has its own worker, and hostWorkers does not run it here" $host $host) -}}{{- end -}}
{{- end -}}
{{- range $host, $_ := .Values.hostWorkers -}}
{{- if not (dig $host "own_worker" false ($.Values.settings.hosts | default dict)) -}}{{- fail (printf "hostWorkers.%s needs settings.hosts.%s.own_worker: true" $host $host) -}}{{- end -}}
{{- end -}}
{{- with .Values.settings.identity -}}
{{- if not (or $.Values.secrets.identityToken $.Values.secrets.identityClientSecret $.Values.secrets.identityPrivateKey) -}}
{{- fail "settings.identity needs a credential: secrets.identityToken, or identity.client_id with secrets.identityClientSecret or secrets.identityPrivateKey" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.worker.autoscaling.enabled .Values.worker.keda.enabled -}}{{- fail "worker.autoscaling and worker.keda are both enabled: give one of them" -}}{{- end -}}
{{- range $component := list "api" "codecServer" -}}
{{- with index $.Values $component -}}
{{- if and .ingress.enabled .httpRoute.enabled -}}{{- fail (printf "%s.ingress and %s.httpRoute are both enabled: give one of them" $component $component) -}}{{- end -}}
{{- if and .ingress.enabled (not .ingress.host) -}}{{- fail (printf "%s.ingress.host is missing: the name under which people open it" $component) -}}{{- end -}}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) -}}{{- fail (printf "%s.httpRoute.parentRefs is missing: the Gateway that the route belongs to" $component) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.codecServer.enabled (not (dig "codec_server" "ui" "" .Values.settings)) -}}{{- fail "settings.codec_server.ui is missing: the address of Temporal's Web UI, whose pages the codec server answers" -}}{{- end -}}
{{- if and .Values.templates .Values.existingTemplatesConfigMap -}}{{- fail "templates and existingTemplatesConfigMap are both given: give one of them" -}}{{- end -}}
{{- with .Values.temporal.tls -}}
{{- if and (or .caKey .certificateKey .privateKeyKey) (not .existingSecret) -}}{{- fail "temporal.tls.existingSecret is missing: the Secret that has the keys which temporal.tls names" -}}{{- end -}}
{{- end -}}
{{- end -}}
