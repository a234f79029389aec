package config

// ignoredFlags has the present and former flags of kube-proxy without effect, with the value of a flag
// that may stand alone. A DaemonSet with these flags must start.
var ignoredFlags = map[string]string{
	// Of other modes.
	"iptables-sync-period":     "",
	"iptables-min-sync-period": "",
	"nftables-sync-period":     "",
	"nftables-min-sync-period": "",
	"proxy-port-range":         "",
	"udp-timeout":              "",
	// Of cleanup.
	"cleanup-ipvs":     "true",
	"cleanup-iptables": "true",
	// Of Windows.
	"network-name":            "",
	"source-vip":              "",
	"enable-dsr":              "true",
	"root-hnsendpoint-name":   "",
	"forward-healthcheck-vip": "true",
	"windows-service":         "true",
	// Of logs.
	"log-flush-frequency":       "",
	"vmodule":                   "",
	"log-text-split-stream":     "true",
	"log-text-info-buffer-size": "",
	"log-json-split-stream":     "true",
	"log-json-info-buffer-size": "",
	"logtostderr":               "true",
	"alsologtostderr":           "true",
	"stderrthreshold":           "",
	"log-dir":                   "",
	"log-file":                  "",
	"log-file-max-size":         "",
	"log-backtrace-at":          "",
	"add-dir-header":            "true",
	"skip-headers":              "true",
	"skip-log-headers":          "true",
	"one-output":                "true",
	// Of long ago.
	"machine-id-file":    "",
	"boot-id-file":       "",
	"resource-container": "",
}

func ignoredReason(name string) string {
	switch name {
	case "iptables-sync-period", "nftables-sync-period":
		return otherMode + "; --ipvs-sync-period counts"
	case "iptables-min-sync-period", "nftables-min-sync-period":
		return otherMode + "; --ipvs-min-sync-period counts"
	case "cleanup-ipvs", "cleanup-iptables":
		return "--cleanup removes everything of kube-ipvs"
	case "network-name", "source-vip", "enable-dsr", "root-hnsendpoint-name", "forward-healthcheck-vip", "windows-service":
		return windows
	}
	return "kube-ipvs has no such feature"
}
