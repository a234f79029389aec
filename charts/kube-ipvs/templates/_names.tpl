{{/* The name of all namespaced objects. */}}
{{- define "kube-ipvs.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "kube-ipvs.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "kube-ipvs.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The chart's name, as the label app.kubernetes.io/name has it. */}}
{{- define "kube-ipvs.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "kube-ipvs.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "kube-ipvs.selector" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels by which the pods are found. They never change: a DaemonSet's selector cannot. */}}
{{- define "kube-ipvs.selector" -}}
app.kubernetes.io/name: {{ include "kube-ipvs.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end -}}

{{/* Labels of the pods: none that every new version of the chart changes, which would restart them. */}}
{{- define "kube-ipvs.podLabels" -}}
{{ include "kube-ipvs.selector" . }}
{{- with merge dict .Values.podLabels .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The name of the ServiceAccount. */}}
{{- define "kube-ipvs.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "kube-ipvs.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount to use, or set serviceAccount.create=true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The job label of what Prometheus scrapes, whichever monitor is used: see jobLabel. */}}
{{- define "kube-ipvs.job" -}}
{{- include "kube-ipvs.name" . -}}
{{- end -}}

{{/* The image of the program, by digest or tag. */}}
{{- define "kube-ipvs.image" -}}
{{- $i := .Values.image -}}
{{- if not $i.repository -}}
{{- fail "image.repository: it is empty, and no image is published: build one (docs/install.md) and name it, as in --set image.repository=registry.example.com/kube-ipvs" -}}
{{- end -}}
{{- $registry := ((.Values.global).imageRegistry) | default $i.registry -}}
{{- $name := ternary (printf "%s/%s" ($registry | trimSuffix "/") $i.repository) $i.repository (ne $registry "") -}}
{{- $tag := $i.tag | default .Chart.AppVersion -}}
{{- if $i.digest -}}
{{- printf "%s:%s@%s" $name $tag $i.digest -}}
{{- else -}}
{{- printf "%s:%s" $name $tag -}}
{{- end -}}
{{- end -}}

{{/* An address and a port, as a listener and a URL take them. Call: (dict "ip" … "port" …). */}}
{{- define "kube-ipvs.hostport" -}}
{{- ternary (printf "[%s]:%v" .ip .port) (printf "%s:%v" .ip .port) (contains ":" .ip) -}}
{{- end -}}

{{/* Whether only the node itself can reach the metrics: a word, or nothing. */}}
{{- define "kube-ipvs.metricsAreLocal" -}}
{{- if or (hasPrefix "127." .Values.metrics.bindAddress) (eq "::1" .Values.metrics.bindAddress) -}}true{{- end -}}
{{- end -}}

{{/*
Fails unless the cluster knows a kind of the Prometheus operator. Call:
(list . "ServiceMonitor" "metrics.serviceMonitor.enabled").
*/}}
{{- define "kube-ipvs.requireMonitoring" -}}
{{- $root := index . 0 -}}{{- $kind := index . 1 -}}{{- $value := index . 2 -}}
{{- if not ($root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" $kind)) -}}
{{- fail (printf "%s: the cluster does not know the kind %s of monitoring.coreos.com/v1: install the Prometheus operator's CRDs first, or leave this false. helm template learns of them by --api-versions monitoring.coreos.com/v1/%s" $value $kind $kind) -}}
{{- end -}}
{{- end -}}

{{/* The name of cluster-wide objects: a release of the same name may exist in another namespace. */}}
{{- define "kube-ipvs.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "kube-ipvs.fullname" .) -}}
{{- end -}}

{{/*
How a monitor scrapes. Call: (list the monitor's values, relabelings that come first).
The namespace, service and endpoint of traffic metrics are those that the metric is
of, not where it was scraped: hence honorLabels.
*/}}
{{- define "kube-ipvs.endpoint" -}}
{{- $m := index . 0 -}}
port: metrics
path: /metrics
honorLabels: true
{{- with $m.interval }}
interval: {{ . }}
{{- end }}
{{- with $m.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
relabelings:
{{ toYaml (concat (index . 1) $m.relabelings) | indent 2 }}
{{- with $m.metricRelabelings }}
metricRelabelings:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{/*
affinity, and with takeover never beside a kube-proxy: the pod comes when that one has
gone, which may take its time to stop, and keeps it from coming back. Labels are those of
kubeadm and kubespray, and of RKE2's static pods.
*/}}
{{- define "kube-ipvs.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- if .Values.takeover -}}
{{- $terms := list -}}
{{- range $key, $value := dict "k8s-app" "kube-proxy" "component" "kube-proxy" -}}
{{- $terms = append $terms (dict "topologyKey" "kubernetes.io/hostname" "namespaces" (list "kube-system") "labelSelector" (dict "matchLabels" (dict $key $value))) -}}
{{- end -}}
{{- $anti := get $affinity "podAntiAffinity" | default dict -}}
{{- $required := concat $terms (get $anti "requiredDuringSchedulingIgnoredDuringExecution" | default list) -}}
{{- $_ := set $affinity "podAntiAffinity" (set $anti "requiredDuringSchedulingIgnoredDuringExecution" $required) -}}
{{- end -}}
{{- with $affinity }}{{ toYaml . }}{{ end -}}
{{- end -}}
