{{/*
Templates of prometheusrule.yaml. They get a dict: alert, of files/alerts.yaml, and v, its values;
job; rule, the values of prometheusRule; by, the labels that tell apart what many nodes have; of, the
matchers of the alert's recorded series.
*/}}

{{/* What the nodes have now. The other rules read its series, so that it is evaluated once a round. */}}
{{- define "kube-ipvs.value" -}}
{{ .alert.node }}
{{- end -}}

{{/* Since when they have had it without a pause: the time of the first of those rounds. */}}
{{- define "kube-ipvs.since" -}}
(instance:kube_ipvs_alert:since{{ .of }} and instance:kube_ipvs_alert:value{{ .of }})
or
timestamp(instance:kube_ipvs_alert:value{{ .of }})
{{- end -}}

{{/*
The nodes that have had it for as long as the alert waits: by then they had it since the same time.
Prometheus begins to fire in the same round, whether rounds are shorter than the wait or longer.
*/}}
{{- define "kube-ipvs.held" -}}
{{- $since := print "instance:kube_ipvs_alert:since" .of -}}
{{ $since }}
{{- if not (regexMatch "^(0+[a-z]+)+$" .v.for) }} == {{ $since }} offset {{ .v.for }}{{ end -}}
{{- end -}}

{{/* The number of those nodes, if they are several. */}}
{{- define "kube-ipvs.several" -}}
count by ({{ join ", " .by }}) (instance:kube_ipvs_alert:held{{ .of }}) > {{ .rule.nodesOneByOne }}
{{- end -}}

{{/* What one of few nodes, an object or the cluster has. The label alert is of recorded series only. */}}
{{- define "kube-ipvs.one" -}}
{{- if .alert.node -}}
max without (alert) (
instance:kube_ipvs_alert:value{{ .of }} unless on ({{ join ", " .by }}) (
{{ include "kube-ipvs.several" . }}
))
{{- end }}
{{- if and .alert.node .alert.cluster }}
or
{{ end }}
{{- .alert.cluster }}
{{- end -}}

{{/* The number of those nodes, if they are a large part of the cluster. */}}
{{- define "kube-ipvs.many" -}}
({{ include "kube-ipvs.several" . }})
  > on (job, {{ .rule.clusterLabel }}) group_left () {{ .rule.manyNodes }} * count by (job, {{ .rule.clusterLabel }}) (up{job={{ .job | quote }}})
{{- end -}}

{{/* The first three nodes of a query with <labels> of the alert, if the alert has no instance. */}}
{{- define "kube-ipvs.someNodes" -}}
{{- $matchers := list }}{{ $values := list }}
{{- range $i, $label := .by }}{{ $matchers = append $matchers (printf "%s=%%[%d]q" $label (add1 $i)) }}{{ $values = append $values (print "$labels." $label) }}{{ end -}}
{{ printf "{{ if not $labels.instance }}{{ with query (printf `%s` %s) }}" (replace "<labels>" (join ", " $matchers) .query) (join " " $values) }} Nodes:
{{- `{{ range $i, $node := . | sortByLabel "instance" }}{{ if lt $i 3 }}{{ if $i }},{{ end }} {{ $node.Labels.instance }}{{ end }}{{ end }}{{ if gt (len .) 3 }} and others{{ end }}.{{ end }}{{ end }}` }}
{{- end -}}

{{/*
The address of docs/alerts.md: as set, or of this version where the chart's home has it, or nothing. A
relative one, which was the default once, is none: no reader of a notification can follow it.
*/}}
{{- define "kube-ipvs.runbook" -}}
{{- if regexMatch "^https?://" .Values.prometheusRule.runbookURL -}}
{{ .Values.prometheusRule.runbookURL }}
{{- else if .Chart.Home -}}
{{ printf "%s/blob/v%s/docs/alerts.md" (trimSuffix "/" .Chart.Home) .Chart.Version }}
{{- end -}}
{{- end -}}
