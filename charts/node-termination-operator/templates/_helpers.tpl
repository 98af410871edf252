{{- /* Names are those of manifests/ and do not depend on the release: one cluster has one operator, a second release is
refused because these objects belong to the first, and the admission policy knows the agent by its account's name. */}}
{{- define "operator.name" -}}node-termination-operator{{- end }}
{{- define "operator.agent" -}}node-termination-operator-agent{{- end }}

{{- /* What pods are selected by: the same for every release and version, for a selector never changes. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Labels and annotations of an object. The chart's own labels win over those of the values. Takes root, and
optionally component, labels, annotations. */}}
{{- define "operator.metadata" -}}
{{- $own := dict "app.kubernetes.io/name" (include "operator.name" .) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
labels:
  {{- merge (dict) $own (.labels | default dict) (.root.Values.labels | default dict) | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Labels and annotations of a pod. Takes root, component and values: those of the role. */}}
{{- define "operator.podMetadata" -}}
labels:
  {{- merge (dict) (include "operator.selector" . | fromYaml) (.values.podLabels | default dict) (.root.Values.labels | default dict) | toYaml | nindent 2 }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "operator.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- /* The process's environment of both roles. A name that stands twice would be refused by the API server without
saying whose fault it is. Takes root, role and own: the names set beside these. */}}
{{- define "operator.env" -}}
{{- $values := index .root.Values .role -}}
- name: NTO_HTTP_ADDRESS
  value: {{ printf "%s:%v" .root.Values.bindAddress $values.port | quote }}
- name: NTO_LOG_LEVEL
  value: {{ .root.Values.logLevel | quote }}
- name: NTO_LOG_FORMAT
  value: {{ .root.Values.logFormat | quote }}
{{- $taken := concat .own (list "NTO_HTTP_ADDRESS" "NTO_LOG_LEVEL" "NTO_LOG_FORMAT") }}
{{- range $values.env }}
{{- if has .name $taken }}
{{- fail (printf "%s.env: the chart sets %s itself (see bindAddress, port, logLevel, logFormat, leaseDurationSeconds, clusterName, allowHTTPNotifications), or it stands twice" $.role .name) }}
{{- end }}
{{- $taken = append $taken .name }}
{{- end }}
{{- with $values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Pod Security "restricted", as are the security contexts of the containers. */}}
{{- define "operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* A namespace of the values, or the release's. */}}
{{- define "operator.namespaceOf" -}}
{{ .values.namespace | default .root.Release.Namespace }}
{{- end }}

{{- /* How Prometheus reads a target, for both kinds of monitor. */}}
{{- define "operator.endpoint" -}}
- port: http
  path: /metrics
  interval: {{ .interval }}
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
