{{/*
What the containers share that run the program: the init container must try the same features
as the main container uses, with the same files.
*/}}

{{/* The arguments of "kube-ipvs run". */}}
{{- define "kube-ipvs.args" -}}
- --config=/etc/kube-ipvs/config.yaml
- --hostname-override=$(NODE_NAME)
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Their environment. */}}
{{- define "kube-ipvs.env" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Their files: the configuration by subPath, so that a changed ConfigMap reaches a pod when its
turn has come, rather than all nodes at once; and the one lock of all programs that use the
legacy iptables of the node.
*/}}
{{- define "kube-ipvs.volumeMounts" -}}
- {name: config, mountPath: /etc/kube-ipvs/config.yaml, subPath: config.yaml, readOnly: true}
- {name: xtables-lock, mountPath: /run/xtables.lock}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
