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
