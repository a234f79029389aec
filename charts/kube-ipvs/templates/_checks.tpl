{{/* Checks that the schema cannot express. Each failure names the value and what to do. */}}
{{- define "kube-ipvs.checks" -}}
{{- $p := .Values.kubeProxyConfiguration -}}
{{- if and (eq (int .Values.healthz.port) (int .Values.metrics.port)) -}}
{{- fail (printf "metrics.port: %v is also healthz.port: choose another for one of the two" .Values.metrics.port) -}}
{{- end -}}
{{- range $name := list "healthz" "metrics" -}}
{{- $field := printf "%sBindAddress" $name -}}
{{- $mine := index $.Values $name -}}
{{- $here := include "kube-ipvs.hostport" (dict "ip" $mine.bindAddress "port" $mine.port) -}}
{{- $given := index $p $field -}}
{{- if not (has $given (list nil "" $mine.bindAddress $here)) -}}
{{- fail (printf "kubeProxyConfiguration.%s: %s is not %s: set %s.bindAddress and %s.port to it, or remove it" $field $given $here $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $p.detectLocalMode "BridgeInterface") (not $p.detectLocal.bridgeInterface) -}}
{{- fail "kubeProxyConfiguration.detectLocal.bridgeInterface: detectLocalMode BridgeInterface needs it: name the bridge of the pods" -}}
{{- end -}}
{{- if and (eq $p.detectLocalMode "InterfaceNamePrefix") (not $p.detectLocal.interfaceNamePrefix) -}}
{{- fail "kubeProxyConfiguration.detectLocal.interfaceNamePrefix: detectLocalMode InterfaceNamePrefix needs it: say how the pods' interfaces begin, as in cali" -}}
{{- end -}}
{{- $cidrs := splitList "," $p.clusterCIDR -}}
{{- if eq (len $cidrs) 2 -}}
{{- if eq (contains ":" (first $cidrs)) (contains ":" (last $cidrs)) -}}
{{- fail (printf "kubeProxyConfiguration.clusterCIDR: %s are of the same family: give one of IPv4 and one of IPv6" $p.clusterCIDR) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "podMonitor" "serviceMonitor" -}}
{{- if (index $.Values.metrics $name).enabled -}}
{{- if include "kube-ipvs.metricsAreLocal" $ -}}
{{- fail (printf "metrics.%s.enabled: only the node can read metrics at metrics.bindAddress %s: set it to 0.0.0.0, or to :: on nodes with IPv6 only" $name $.Values.metrics.bindAddress) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled -}}
{{- fail "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled: with both, everything is scraped twice: choose one" -}}
{{- end -}}
{{- range $name := list "podMonitor" "serviceMonitor" -}}
{{- if (index $.Values.metrics $name).enabled -}}
{{- include "kube-ipvs.requireMonitoring" (list $ (title $name) (printf "metrics.%s.enabled" $name)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.checkOtherReleases -}}{{- include "kube-ipvs.alone" . -}}{{- end -}}
{{- range $key, $_ := .Values.podLabels -}}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component") -}}
{{- fail (printf "podLabels: %s is one by which the chart finds its pods: choose another" $key) -}}
{{- end -}}
{{- end -}}
{{- range $arg := .Values.extraArgs -}}
{{- if regexMatch "^--?(config|cleanup|init-only|write-config-to|version|hostname-override|healthz-bind-address|metrics-bind-address)(=|$)" (replace "_" "-" $arg) -}}
{{- fail (printf "extraArgs: %s is the chart's own: use the values healthz, metrics and kubeProxyConfiguration" $arg) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Fails if another release is meant for the same nodes: only one kube-ipvs programs a node.
Selectors with different values of a label keep two apart; the chart does not evaluate affinity.
helm itself decides whether a DaemonSet with this one's name belongs to this release.
*/}}
{{- define "kube-ipvs.alone" -}}
{{- $mine := .Values.nodeSelector | default dict -}}
{{- $where := ternary "" .Release.Namespace .Values.rbac.create -}}
{{- range $set := (lookup "apps/v1" "DaemonSet" $where "").items -}}
{{- $labels := $set.metadata.labels | default dict -}}
{{- $name := printf "the DaemonSet %s in the namespace %s" $set.metadata.name $set.metadata.namespace -}}
{{- $release := get ($set.metadata.annotations | default dict) "meta.helm.sh/release-name" | default "" -}}
{{- if $release -}}{{- $name = printf "the release %s in the namespace %s" $release $set.metadata.namespace -}}{{- end -}}
{{- $spec := $set.spec.template.spec -}}
{{- $apart := or (dig "affinity" "nodeAffinity" "" $spec) (dig "nodeAffinity" "" ($.Values.affinity | default dict)) -}}
{{- range $key, $value := $spec.nodeSelector | default dict -}}
{{- if and (hasKey $mine $key) (ne (get $mine $key) $value) -}}{{- $apart = "yes" -}}{{- end -}}
{{- end -}}
{{- $proxy := and (eq (get $labels "helm.sh/chart" | default "" | trunc 10) "kube-ipvs-") (eq (get $labels "app.kubernetes.io/component" | default "") "proxy") -}}
{{- $same := and (eq $set.metadata.namespace $.Release.Namespace) (or (eq $release $.Release.Name) (eq $set.metadata.name (include "kube-ipvs.fullname" $))) -}}
{{- if and $proxy (not $same) (not $apart) -}}
{{- fail (printf "%s is for the same nodes, and only one kube-ipvs programs a node: upgrade that one, or have nodeSelector choose other nodes than its own %s; checkOtherReleases=false does not look" $name (toJson ($spec.nodeSelector | default dict))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
