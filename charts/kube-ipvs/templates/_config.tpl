{{/*
The API servers, as a JSON list in an object: {"list": […]}. The ClusterIP of the API server
is of no use: it works only once kube-ipvs does.
*/}}
{{- define "kube-ipvs.apiServers" -}}
{{- $v := .Values.apiServers -}}
{{- if and $v.auto $v.addresses -}}
{{- fail "apiServers.addresses and apiServers.auto: both are set: leave addresses empty to have it read from the cluster, or set auto=false" -}}
{{- end -}}
{{- if not (or $v.auto $v.addresses) -}}
{{- fail "apiServers.addresses: it is empty: name the API servers, as in --set 'apiServers.addresses={10.0.0.1:6443}', or set apiServers.auto=true where kubeadm has set the cluster up. Their ClusterIP does not work before kube-ipvs does" -}}
{{- end -}}
{{- $list := $v.addresses -}}
{{- if $v.auto -}}
{{- $list = list (include "kube-ipvs.clusterInfo" .) -}}
{{- end -}}
{{- dict "list" $list | toJson -}}
{{- end -}}

{{/* The server that kube-public/cluster-info names: a kubeconfig without a user. */}}
{{- define "kube-ipvs.clusterInfo" -}}
{{- $found := lookup "v1" "ConfigMap" "kube-public" "cluster-info" -}}
{{- $remedy := "set apiServers.auto=false and name the API servers in apiServers.addresses" -}}
{{- if not $found -}}
{{- fail (printf "apiServers.auto: there is no ConfigMap kube-public/cluster-info, or helm was not told to ask the cluster (helm template and --dry-run=client do not: use --dry-run=server): %s" $remedy) -}}
{{- else -}}
{{- $clusters := (fromYaml (dig "data" "kubeconfig" "" $found)).clusters | default list -}}
{{- $server := dig "cluster" "server" "" (first $clusters | default dict) -}}
{{- if not $server -}}
{{- fail (printf "apiServers.auto: the ConfigMap kube-public/cluster-info names no server: %s" $remedy) -}}
{{- end -}}
{{- $server -}}
{{- end -}}
{{- end -}}

{{/*
Both documents of the configuration. What the chart knows better stands before what kubeProxyConfiguration
says, and the kubeconfig of kube-proxy's pod is not in this one.
*/}}
{{- define "kube-ipvs.config" -}}
{{- $given := deepCopy .Values.kubeProxyConfiguration -}}
{{- $_ := unset ($given.clientConnection | default dict) "kubeconfig" -}}
{{- if kindIs "invalid" $given.oomScoreAdj -}}
{{- $_ := set $given "oomScoreAdj" -997 -}}
{{- end -}}
{{- $proxy := dict
  "apiVersion" "kubeproxy.config.k8s.io/v1alpha1" "kind" "KubeProxyConfiguration" "mode" "ipvs"
  "healthzBindAddress" (include "kube-ipvs.hostport" (dict "ip" .Values.healthz.bindAddress "port" .Values.healthz.port))
  "metricsBindAddress" (include "kube-ipvs.hostport" (dict "ip" .Values.metrics.bindAddress "port" .Values.metrics.port)) -}}
{{- $own := dict
  "apiVersion" "kube-ipvs/v1alpha1" "kind" "KubeIPVSConfiguration" "takeover" .Values.takeover
  "apiServers" (include "kube-ipvs.apiServers" . | fromJson).list -}}
{{- toYaml (merge $proxy $given) }}
---
{{ toYaml (merge $own .Values.kubeIPVSConfiguration) }}
{{- end -}}
