{{/* A container of Moorage: root, component, values, name, args, and perhaps more (YAML: probes, ports). */}}
{{- define "moorage.container" -}}
- name: {{ .name }}
  image: {{ include "moorage.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: {{ .args | toJson }}
  env:
    {{- include "moorage.env" . | trim | nindent 4 }}
  securityContext:
    {{- toYaml .root.Values.containerSecurityContext | nindent 4 }}
  resources:
    {{- toYaml .values.resources | nindent 4 }}
  {{- with .more }}
  {{- . | nindent 2 }}
  {{- end }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: secrets, mountPath: /run/moorage, readOnly: true}
    {{- if ne .component "codec-server" }}
    {{- if .root.Values.temporal.tls.existingSecret }}
    - {name: temporal-tls, mountPath: /run/temporal, readOnly: true}
    {{- end }}
    {{- if or .root.Values.templates .root.Values.existingTemplatesConfigMap }}
    - {name: templates, mountPath: /etc/moorage/templates, readOnly: true}
    {{- end }}
    {{- if and .root.Values.issuers (ne .component "worker") (not .host) }}
    - {name: issuers, mountPath: /etc/moorage/issuers, readOnly: true}
    {{- end }}
    {{- if .root.Values.caConfigMap }}
    - {name: authorities, mountPath: /etc/moorage/ca, readOnly: true}
    {{- end }}
    {{- if and .root.Values.auditLog.existingClaim (has .component (list "worker" "api")) }}
    - {name: audit-log, mountPath: /var/lib/moorage/audit-log, readOnly: {{ ne .component "worker" }}}
    {{- end }}
    {{- end }}
    {{- with .root.Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A pod: root, component, values, containers (YAML), and perhaps initContainers and restartPolicy. */}}
{{- define "moorage.podTemplate" -}}
{{- $values := .root.Values -}}
{{- $account := "worker" -}}
{{- if eq .component "api" -}}{{- $account = "api" -}}{{- end -}}
metadata:
  labels:
    {{- include "moorage.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .component }}
    {{- with dig "encryptionKeys" "value" "" $values.secrets }}
    # Keys are read once, when a process starts.
    checksum/encryption-keys: {{ sha256sum . }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if eq .component "codec-server" }}
  serviceAccountName: {{ include "moorage.fullname" .root }}-codec-server
  automountServiceAccountToken: false
  {{- else }}
  serviceAccountName: {{ (index $values.serviceAccounts $account).name }}
  # Only where this cluster is a host: all others are reached by kubeconfigs.
  automountServiceAccountToken: {{ ternary (not (hasKey $values.hostKubeconfigs (default "" .host))) (ne (include "moorage.hostsHere" .root) "") (hasKey . "host") }}
  {{- end }}
  # Variables of Services could be taken for settings.
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .values.terminationGracePeriodSeconds }}
  terminationGracePeriodSeconds: {{ int . }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .values.topologySpreadConstraints | nindent 4 }}
  {{- else if hasKey .values "topologySpreadConstraints" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "moorage.selector" . | nindent 10 }}
  {{- end }}
  {{- with .initContainers }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    {{- .containers | nindent 4 }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 512Mi}
    {{- include "moorage.secretVolume" . | nindent 4 }}
    {{- if ne .component "codec-server" }}
    {{- with $values.temporal.tls.existingSecret }}
    - name: temporal-tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- if or $values.templates $values.existingTemplatesConfigMap }}
    - name: templates
      configMap: {name: {{ default (printf "%s-templates" (include "moorage.fullname" .root)) $values.existingTemplatesConfigMap }}}
    {{- end }}
    {{- if and $values.issuers (ne .component "worker") (not .host) }}
    - name: issuers
      configMap: {name: {{ include "moorage.fullname" .root }}-issuers}
    {{- end }}
    {{- with $values.caConfigMap }}
    - name: authorities
      configMap: {name: {{ . }}}
    {{- end }}
    {{- if and $values.auditLog.existingClaim (has .component (list "worker" "api")) }}
    - name: audit-log
      persistentVolumeClaim: {claimName: {{ $values.auditLog.existingClaim }}}
    {{- end }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A Deployment with its disruption budget and its autoscaler: root, component, values, name, containers. */}}
{{- define "moorage.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "moorage.metadata" . | nindent 2 }}
spec:
  {{- if not (or (dig "autoscaling" "enabled" false .values) (dig "keda" "enabled" false .values)) }}
  replicas: {{ int .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  # A new pod takes over before an old one goes.
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "moorage.selector" . | nindent 6 }}
  template:
    {{- include "moorage.podTemplate" . | nindent 4 }}
{{- if .values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "moorage.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # Pods that are not ready do not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "moorage.selector" . | nindent 6 }}
{{- end }}
{{- if dig "autoscaling" "enabled" false .values }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "moorage.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicas: {{ int .values.autoscaling.minReplicas }}
  maxReplicas: {{ int .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ int .values.autoscaling.targetCPUUtilizationPercentage }}}
{{- end }}
{{- end -}}

{{/* Probes of the HTTP servers, and a moment in which the proxies learn that a pod ends. */}}
{{- define "moorage.httpProbes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 45
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: {{ . }}, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
lifecycle:
  preStop: {sleep: {seconds: 5}}
{{- end -}}

{{- define "moorage.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "moorage.metadata" (merge (dict "annotations" .values.service.annotations) .) | nindent 2 }}
spec:
  type: {{ .values.service.type }}
  ports:
    - {name: http, port: {{ int .values.service.port }}, targetPort: http, protocol: TCP, appProtocol: http}
  selector:
    {{- include "moorage.selector" . | nindent 4 }}
{{- end -}}

{{/* The way in to a Service: an Ingress or a route of a Gateway. Streams of events stay open, so no time limit is set. */}}
{{- define "moorage.route" -}}
{{- with .values.ingress }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "moorage.metadata" (merge (dict "annotations" .annotations) $) | nindent 2 }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if .tlsSecretName }}
  tls:
    - hosts: [{{ .host }}]
      secretName: {{ .tlsSecretName }}
  {{- end }}
  rules:
    - host: {{ .host }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: {{ $.name }}, port: {name: http}}}
{{- end }}
{{- end }}
{{- with .values.httpRoute }}
{{- if .enabled }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "moorage.metadata" (merge (dict "annotations" .annotations) $) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml .parentRefs | nindent 4 }}
  {{- with .hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: /}
      {{- with .filters }}
      filters:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .timeouts }}
      timeouts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      backendRefs:
        - {name: {{ $.name }}, port: {{ int $.values.service.port }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the container of each component has beside its environment. */}}
{{- define "moorage.workerProbes" -}}
# The file is there while the worker takes work. A worker that cannot reach Temporal ends by itself: no liveness probe would do better.
startupProbe:
  exec: {command: [test, -f, /tmp/ready]}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  exec: {command: [test, -f, /tmp/ready]}
  periodSeconds: 10
{{- if .Values.metrics.enabled }}
ports:
  - {name: metrics, containerPort: {{ int .Values.metrics.workerPort }}, protocol: TCP}
{{- end }}
{{- end -}}

{{- define "moorage.apiProbes" -}}
{{ include "moorage.httpProbes" "/readyz" }}
ports:
  - {name: http, containerPort: 7400, protocol: TCP}
  {{- if .Values.metrics.enabled }}
  - {name: metrics, containerPort: {{ int .Values.metrics.apiPort }}, protocol: TCP}
  {{- end }}
{{- end -}}

{{- define "moorage.codecServerProbes" -}}
{{ include "moorage.httpProbes" "/healthz" }}
ports:
  - {name: http, containerPort: 7401, protocol: TCP}
{{- end -}}
