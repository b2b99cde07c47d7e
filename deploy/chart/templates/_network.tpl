{{/* One rule of a policy: side (to or from), peers, ports (numbers or names). */}}
{{- define "moorage.rule" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .peers }}
  {{ $.side }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The port of a URL, or of host:port. */}}
{{- define "moorage.port" -}}
{{- $explicit := regexFind ":[0-9]+$" (regexReplaceAll "^(.*://[^/]*|[^/]*).*$" . "${1}") -}}
{{- if $explicit -}}{{- trimPrefix ":" $explicit -}}
{{- else if hasPrefix "http://" . -}}80
{{- else -}}443
{{- end -}}
{{- end -}}

{{/* Ports of several URLs, each once; without any, 443. */}}
{{- define "moorage.ports" -}}
{{- $ports := list -}}
{{- range . -}}{{- if . -}}{{- $ports = append $ports (include "moorage.port" .) -}}{{- end -}}{{- end -}}
{{- $ports | uniq | default (list "443") | toJson -}}
{{- end -}}

{{/* What a component reaches: root and component. */}}
{{- define "moorage.egress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $settings := .root.Values.settings -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with $policy.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# Temporal
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.temporal "ports" (list (include "moorage.port" .root.Values.temporal.address))) }}
{{- if not .host }}
# the control plane
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.controlPlane "ports" (fromJsonArray (include "moorage.ports" (list $settings.control_plane.url)))) }}
{{- end }}
{{- if and (not .host) (or $settings.identity $settings.sso .root.Values.issuers) }}
# the identity provider, and the issuers of tokens
{{- $urls := list (dig "identity" "url" "" $settings) (dig "identity" "token_url" "" $settings) (dig "sso" "metadata_url" "" $settings) }}
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.identityProvider "ports" (fromJsonArray (include "moorage.ports" (concat $urls (regexFindAll "https?://[^\\s\"',]+" .root.Values.issuers -1))))) }}
{{- end }}
# charts of vClusters
{{- $charts := list "https://charts.example" }}
{{- range $settings.hosts }}{{- $charts = append $charts (dig "chart_repository" "" (. | default dict)) }}{{- end }}
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.charts "ports" (fromJsonArray (include "moorage.ports" $charts))) }}
# API servers of the hosts
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.apiServers "ports" $policy.egress.apiServerPorts) }}
{{- $exposures := list }}
{{- range $settings.hosts }}{{- $exposures = append $exposures (dig "exposure" "in-cluster" (. | default dict)) }}{{- end }}
{{- if has "in-cluster" $exposures }}
# API servers of vClusters in this cluster: the port of their Service, and that of their pods
- ports:
    - {protocol: TCP, port: 443}
    - {protocol: TCP, port: 8443}
  to:
    - namespaceSelector:
        matchLabels: {moorage.dev/installation: {{ $settings.installation }}}
{{- end }}
{{- if has "node-port" $exposures }}
# API servers of vClusters at ports of nodes
- ports:
    - {protocol: TCP, port: 30000, endPort: 32767}
  {{- with $policy.egress.nodePorts }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if eq .component "worker" }}
{{- $notices := dig "notices" (dict) $settings }}
{{- $urls := list (dig "webhook_url" "" $notices) (dig "audit_log" "webhook_url" "" $settings) }}
{{- if .root.Values.secrets.noticesSlackUrl }}{{- $urls = append $urls "https://hooks.slack.com" }}{{- end }}
{{- with dig "smtp_host" "" $notices }}{{- $urls = append $urls (printf "%s:%v" . (int (default 587 $notices.smtp_port))) }}{{- end }}
{{- if without $urls "" }}
# notices and records
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.notices "ports" (fromJsonArray (include "moorage.ports" $urls))) }}
{{- end }}
{{- end }}
{{- if and .root.Values.traces.endpoint (or .host (has .component (list "worker" "api"))) }}
# the collector of traces
{{ include "moorage.rule" (dict "side" "to" "peers" $policy.egress.traces "ports" (fromJsonArray (include "moorage.ports" (list .root.Values.traces.endpoint)))) }}
{{- end }}
{{- if eq .component "test" }}
# the API, which the test asks
- ports:
    - {protocol: TCP, port: 7400}
  to:
    - podSelector:
        matchLabels:
          {{- include "moorage.selector" (dict "root" .root "component" "api") | nindent 10 }}
{{- end }}
{{- with $policy.egress.extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}
