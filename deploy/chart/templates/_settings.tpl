{{/* Write the settings below `values` into the dictionary `into`, as variables. Lists and labels become one variable. */}}
{{- define "moorage.flatten" -}}
{{- range $key, $value := .values -}}
{{- $name := printf "%s%s" $.path (upper $key) -}}
{{- if and (kindIs "map" $value) (eq $key "labels") -}}
{{- $pairs := list -}}
{{- range $label, $text := $value -}}{{- $pairs = append $pairs (printf "%s=%v" $label $text) -}}{{- end -}}
{{- $_ := set $.into $name (join "," $pairs) -}}
{{- else if eq $name "MOORAGE_QUOTAS__TEAMS" -}}
{{- /* Names of teams can have blanks and capitals, and names of variables cannot. */ -}}
{{- $_ := set $.into $name (toJson $value) -}}
{{- else if kindIs "map" $value -}}
{{- include "moorage.flatten" (dict "into" $.into "path" (printf "%s__" $name) "values" $value) -}}
{{- else if kindIs "slice" $value -}}
{{- $_ := set $.into $name (join "," $value) -}}
{{- else if and (kindIs "float64" $value) (eq (float64 $value) (floor $value)) -}}
{{- $_ := set $.into $name (toString (int64 $value)) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $.into $name (toString $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Groups of the settings that a component gets. Only the worker sends notices, and has their secrets. */}}
{{- define "moorage.settingsOf" -}}
{{- $settings := .root.Values.settings -}}
{{- if eq .component "codec-server" -}}
{{- toYaml (pick $settings "log" "codec_server") -}}
{{- else if .host -}}
{{- toYaml (merge (dict "hosts" (pick $settings.hosts .host)) (pick $settings "installation" "prefix" "log" "worker")) -}}
{{- else if eq .component "worker" -}}
{{- toYaml (omit $settings "codec_server" "api") -}}
{{- else -}}
{{- toYaml (omit $settings "codec_server" "notices" "audit_log") -}}
{{- end -}}
{{- end -}}

{{/* Names of the hosts that are this cluster, with blanks between them: those without a kubeconfig, and without their own worker. */}}
{{- define "moorage.hostsHere" -}}
{{- $names := list -}}
{{- range $name, $host := .Values.settings.hosts -}}
{{- if not (or (hasKey $.Values.hostKubeconfigs $name) (dig "own_worker" false ($host | default dict))) -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- join " " $names -}}
{{- end -}}

{{/* The same with hosts whose own worker runs in this release: the accounts need rights for all of them. */}}
{{- define "moorage.rightsHere" -}}
{{- $names := list (include "moorage.hostsHere" .) -}}
{{- range $name, $_ := .Values.hostWorkers -}}
{{- if not (hasKey $.Values.hostKubeconfigs $name) -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- join " " (without $names "") -}}
{{- end -}}

{{/* The address that people open, or nothing if the chart makes no way in. */}}
{{- define "moorage.publicUrl" -}}
{{- with .Values.api -}}
{{- if .ingress.enabled -}}
{{- printf "https://%s" .ingress.host -}}
{{- else if and .httpRoute.enabled .httpRoute.hostnames -}}
{{- printf "https://%s" (first .httpRoute.hostnames) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* All variables of a component. */}}
{{- define "moorage.env" -}}
{{- $values := .root.Values -}}
{{- $variables := dict -}}
{{- $address := ternary "[::]" "0.0.0.0" (eq $values.bindAddress "::") -}}
{{- include "moorage.flatten" (dict "into" $variables "path" "MOORAGE_" "values" (fromYaml (include "moorage.settingsOf" .))) -}}
{{- range $name, $secret := fromYaml (include "moorage.secretsOf" .) -}}
{{- if $secret.variable -}}{{- $_ := set $variables $secret.variable (printf "/run/moorage/%s" $secret.file) -}}{{- end -}}
{{- end -}}
{{- if eq .component "codec-server" -}}
{{- $_ := set $variables "MOORAGE_CODEC_SERVER__BIND" $values.bindAddress -}}
{{- $_ := set $variables "MOORAGE_CODEC_SERVER__PORT" "7401" -}}
{{- else -}}
{{- $_ := set $variables "TEMPORAL_ADDRESS" $values.temporal.address -}}
{{- $_ := set $variables "TEMPORAL_NAMESPACE" $values.temporal.namespace -}}
{{- with $values.temporal.tls -}}
{{- if .enabled -}}{{- $_ := set $variables "TEMPORAL_TLS" "true" -}}{{- end -}}
{{- with .serverName -}}{{- $_ := set $variables "TEMPORAL_TLS_SERVER_NAME" . -}}{{- end -}}
{{- with .caKey -}}{{- $_ := set $variables "TEMPORAL_TLS_SERVER_CA_CERT_PATH" (printf "/run/temporal/%s" .) -}}{{- end -}}
{{- with .certificateKey -}}{{- $_ := set $variables "TEMPORAL_TLS_CLIENT_CERT_PATH" (printf "/run/temporal/%s" .) -}}{{- end -}}
{{- with .privateKeyKey -}}{{- $_ := set $variables "TEMPORAL_TLS_CLIENT_KEY_PATH" (printf "/run/temporal/%s" .) -}}{{- end -}}
{{- end -}}
{{- range $name, $host := ternary (pick $values.settings.hosts (default "" .host)) $values.settings.hosts (hasKey . "host") -}}
{{- $isElsewhere := and (dig "own_worker" false ($host | default dict)) (not (hasKey $ "host")) -}}
{{- $start := printf "MOORAGE_HOSTS__%s__" (upper $name) -}}
{{- $_ := set $variables (printf "%sKIND" $start) "kubernetes" -}}
{{- if $isElsewhere -}}
{{- else if hasKey $values.hostKubeconfigs $name -}}
{{- $_ := set $variables (printf "%sKUBECONFIG" $start) (printf "/run/moorage/%s.kubeconfig" $name) -}}
{{- else if not (($host | default dict).api_account) -}}
{{- $_ := set $variables (printf "%sAPI_ACCOUNT" $start) (printf "%s/%s" $.root.Release.Namespace $values.serviceAccounts.api.name) -}}
{{- end -}}
{{- end -}}
{{- if or $values.templates $values.existingTemplatesConfigMap -}}{{- $_ := set $variables "MOORAGE_TEMPLATES" "/etc/moorage/templates" -}}{{- end -}}
{{- if and $values.auditLog.existingClaim (has .component (list "worker" "api")) -}}
{{- $_ := set $variables "MOORAGE_AUDIT_LOG__FILE" "/var/lib/moorage/audit-log/audit-log.jsonl" -}}
{{- end -}}
{{- if and $values.issuers (ne .component "worker") (not .host) -}}{{- $_ := set $variables "MOORAGE_API__ISSUERS_FILE" "/etc/moorage/issuers/issuers.yaml" -}}{{- end -}}
{{- end -}}
{{- if and $values.traces.endpoint (or .host (has .component (list "worker" "api"))) -}}
{{- $_ := set $variables "OTEL_EXPORTER_OTLP_ENDPOINT" $values.traces.endpoint -}}
{{- $_ := set $variables "OTEL_TRACES_SAMPLER" "parentbased_traceidratio" -}}
{{- $_ := set $variables "OTEL_TRACES_SAMPLER_ARG" (toString $values.traces.sample) -}}
{{- end -}}
{{- /* Collectors of logs tell the two streams of a container apart. */ -}}
{{- if and (has .component (list "api" "codec-server")) (not (hasKey $variables "MOORAGE_LOG__SECURITY")) -}}
{{- $_ := set $variables "MOORAGE_LOG__SECURITY" "stdout" -}}
{{- end -}}
{{- if or .host (eq .component "worker") -}}
{{- $_ := set $variables "MOORAGE_READY_FILE" "/tmp/ready" -}}
{{- if $values.metrics.enabled -}}{{- $_ := set $variables "MOORAGE_WORKER__METRICS" (printf "%s:%v" $address $values.metrics.workerPort) -}}{{- end -}}
{{- else if eq .component "api" -}}
{{- $_ := set $variables "MOORAGE_API__BIND" $values.bindAddress -}}
{{- $_ := set $variables "MOORAGE_API__PORT" "7400" -}}
{{- if $values.metrics.enabled -}}{{- $_ := set $variables "MOORAGE_API__METRICS" (printf "%s:%v" $address $values.metrics.apiPort) -}}{{- end -}}
{{- if not (hasKey $variables "MOORAGE_API__PUBLIC_URL") -}}
{{- with include "moorage.publicUrl" .root -}}{{- $_ := set $variables "MOORAGE_API__PUBLIC_URL" . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $own := .values.extraEnv | default list }}
{{- $extra := $own }}
{{- /* A name stands once: the component's variable wins over the one for all, and both over the chart's. */ -}}
{{- $names := list }}
{{- range $own }}{{- $names = append $names .name }}{{- end }}
{{- range reverse $values.extraEnv }}
{{- if not (has .name $names) }}{{- $extra = prepend $extra . }}{{- $names = append $names .name }}{{- end }}
{{- end }}
{{- range $name, $value := $variables }}
{{- if not (has $name $names) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- if and (ne .component "codec-server") $values.secrets.temporalApiKey (not (has "TEMPORAL_API_KEY" $names)) }}
- name: TEMPORAL_API_KEY
  valueFrom:
    secretKeyRef: {{ include "moorage.secretRef" (dict "root" .root "name" "temporalApiKey" "file" "temporal-api-key") }}
{{- end }}
{{- with $extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}
