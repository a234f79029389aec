package config

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// class says what becomes of a field of KubeProxyConfiguration.
type class struct {
	effect effect
	usual  string // of what is ignored: the default, as JSON, that needs no warning
	why    string // of what is ignored: why, and what happens instead
	about  string // of what is honoured and has no flag: what it means
	here   string // of what is honoured with exceptions: which
}

type effect int

const (
	honoured effect = iota
	ignored         // with a warning
	silent          // ignored; nobody misses it
)

const (
	otherMode = "it is a setting of another mode and has no effect"
	windows   = "it is a setting for Windows and has no effect"
	klogOnly  = "it has no effect: there is one log, on standard error"
)

// classes has the fields of KubeProxyConfiguration that are ignored, or of which there is
// more to say than their flag does. All others have a flag and are honoured, as those of
// KubeIPVSConfiguration are: a test knows every field of the type.
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

// warning returns what to say about a field that is ignored, or nothing if it
// holds what it would anyway.
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
