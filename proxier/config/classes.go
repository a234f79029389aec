package config

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// class describes what kube-ipvs does with a field of KubeProxyConfiguration.
type class struct {
	effect effect
	usual  string // of an ignored field: the default, as JSON, that needs no warning
	why    string // of an ignored field: the reason, and what counts instead
	about  string // of an honoured field without a flag: its meaning
	here   string // of an honoured field: the exceptions
}

type effect int

const (
	honoured effect = iota
	ignored         // with a warning
	silent          // ignored, without a warning
)

const (
	otherMode = "it is a setting of another mode and has no effect"
	windows   = "it is a setting for Windows and has no effect"
	klogOnly  = "it has no effect: there is one log, on standard error"
)

// classes has the ignored fields of KubeProxyConfiguration, and those whose flag does not say all.
// kube-ipvs honours all other fields, which have a flag, and those of KubeIPVSConfiguration. A test
// goes through every field of the types.
var classes = map[string]class{
	"featureGates": {here: "AllowServiceExternalIPs=false; others are ignored, with a warning"},

	"clientConnection.acceptContentTypes": {about: "content types that the API server may answer in, in place of contentType"},

	"logging.flushFrequency":              {effect: silent},
	"logging.vmodule":                     {effect: ignored, why: "it has no effect: there are no levels by source file; logging.verbosity counts"},
	"logging.options.text.splitStream":    {effect: ignored, why: klogOnly},
	"logging.options.text.infoBufferSize": {effect: ignored, usual: `"0"`, why: klogOnly},
	"logging.options.json.splitStream":    {effect: ignored, why: klogOnly},
	"logging.options.json.infoBufferSize": {effect: ignored, usual: `"0"`, why: klogOnly},

	"showHiddenMetricsForVersion": {effect: ignored, why: "it has no effect: kube-ipvs hides no metrics"},
	"mode":                        {here: "a contradiction is an error: anything but ipvs"},

	"iptables.localhostNodePorts": {here: "honoured where it is given: not given it means false, since kube-proxy's IPVS mode never serves node ports on 127.0.0.1"},
	"iptables.syncPeriod":         {effect: ignored, usual: `"30s"`, why: otherMode + "; ipvs.syncPeriod counts"},
	"iptables.minSyncPeriod":      {effect: ignored, usual: `"1s"`, why: otherMode + "; ipvs.minSyncPeriod counts"},

	"nftables.masqueradeBit": {effect: ignored, usual: "14", why: otherMode + "; iptables.masqueradeBit counts"},
	"nftables.masqueradeAll": {effect: ignored, why: otherMode + "; iptables.masqueradeAll counts"},
	"nftables.syncPeriod":    {effect: ignored, usual: `"30s"`, why: otherMode + "; ipvs.syncPeriod counts"},
	"nftables.minSyncPeriod": {effect: ignored, usual: `"1s"`, why: otherMode + "; ipvs.minSyncPeriod counts"},

	"winkernel.networkName":           {effect: ignored, why: windows},
	"winkernel.sourceVip":             {effect: ignored, why: windows},
	"winkernel.enableDSR":             {effect: ignored, why: windows},
	"winkernel.rootHnsEndpointName":   {effect: ignored, why: windows},
	"winkernel.forwardHealthCheckVip": {effect: ignored, why: windows},
	"windowsRunAsService":             {effect: ignored, why: windows},

	"configSyncPeriod": {here: "checked; no effect"},
	"portRange":        {effect: ignored, why: "it has no effect, as in kube-proxy"},
}

// warning returns the warning about an ignored field, or "" if it has its default.
func (c class) warning(place string, v reflect.Value) string {
	if c.effect != ignored || v.IsZero() {
		return ""
	}
	text, err := json.Marshal(v.Interface())
	if err == nil && string(text) == c.usual {
		return ""
	}
	return fmt.Sprintf("%s: %s", place, c.why)
}
