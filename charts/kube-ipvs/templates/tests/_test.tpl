{{/* The name of the test's objects. */}}
{{- define "kube-ipvs.test" -}}
{{- include "kube-ipvs.fullname" . | trunc 50 | trimSuffix "-" }}-test
{{- end -}}

{{/* Labels of the test's pods. */}}
{{- define "kube-ipvs.testLabels" -}}
{{- include "kube-ipvs.labels" . | replace "component: proxy" "component: test" -}}
{{- end -}}

{{/* What the test's containers may do: nothing. */}}
{{- define "kube-ipvs.testSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65534
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What a client does: all of it must be answered within a minute. */}}
{{- define "kube-ipvs.testScript" -}}
{{- /* The wget of some builds of busybox crashes when it is given a timeout of its own. */ -}}
{{- $name := include "kube-ipvs.test" . -}}
reach() {
  for _ in $(seq 30); do
    if timeout 2 wget -q -O - "$2" | grep -q served-by-kube-ipvs; then echo "$1: $2 answers"; return; fi
    sleep 2
  done
  echo "$1: $2 does not answer" >&2
  exit 1
}
address=${{ $name | upper | replace "-" "_" | replace "." "_" }}_SERVICE_HOST
case $address in *:*) address="[$address]" ;; esac
reach ClusterIP "http://$address:80/"
nslookup "{{ $name }}.{{ .Release.Namespace }}.svc.{{ .Values.tests.clusterDomain }}" >/dev/null || {
  echo "DNS: {{ $name }}.{{ .Release.Namespace }}.svc.{{ .Values.tests.clusterDomain }} does not resolve" >&2
  exit 1
}
reach DNS "http://{{ $name }}.{{ .Release.Namespace }}.svc.{{ .Values.tests.clusterDomain }}:80/"
{{- if .Values.tests.nodePort }}
case $HOST_IP in *:*) HOST_IP="[$HOST_IP]" ;; esac
reach "node port" "http://$HOST_IP:{{ .Values.tests.nodePort }}/"
{{- end }}
{{- end -}}
