package state

// SettingKey is one of the kernel settings that kube-ipvs sets. It never sets them back,
// since other programs may rely on them by then.
type SettingKey uint8

// The settings.
const (
	VSConntrack        SettingKey = iota + 1 // IPVS keeps conntrack entries, which masquerade and NAT need
	ExpireNoDest                             // a flow whose real server is gone ends, and its next packet is scheduled anew
	ExpireQuiescent                          // affinity to a real server of weight 0 ends
	IPForward                                // the node forwards packets to pods (IPv4)
	IPv6Forward                              // the same for IPv6; wanted only once a Service has an IPv6 address
	CloseWaitTimeout                         // seconds that conntrack keeps half-closed connections, as kube-proxy sets it
	EstablishedTimeout                       // seconds that conntrack keeps idle connections, as kube-proxy sets it
	IPVSTCPTimeout                           // seconds that IPVS keeps idle TCP connections
	IPVSTCPFinTimeout                        // seconds that IPVS keeps TCP connections after a FIN
	IPVSUDPTimeout                           // seconds that IPVS keeps idle UDP flows
	settingKeys
)

var settingTable = [settingKeys]struct{ name, path string }{
	VSConntrack:        {"net.ipv4.vs.conntrack", "net/ipv4/vs/conntrack"},
	ExpireNoDest:       {"net.ipv4.vs.expire_nodest_conn", "net/ipv4/vs/expire_nodest_conn"},
	ExpireQuiescent:    {"net.ipv4.vs.expire_quiescent_template", "net/ipv4/vs/expire_quiescent_template"},
	IPForward:          {"net.ipv4.ip_forward", "net/ipv4/ip_forward"},
	IPv6Forward:        {"net.ipv6.conf.all.forwarding", "net/ipv6/conf/all/forwarding"},
	CloseWaitTimeout:   {"net.netfilter.nf_conntrack_tcp_timeout_close_wait", "net/netfilter/nf_conntrack_tcp_timeout_close_wait"},
	EstablishedTimeout: {"net.netfilter.nf_conntrack_tcp_timeout_established", "net/netfilter/nf_conntrack_tcp_timeout_established"},
	IPVSTCPTimeout:     {"ipvs tcp timeout", ""},
	IPVSTCPFinTimeout:  {"ipvs tcpfin timeout", ""},
	IPVSUDPTimeout:     {"ipvs udp timeout", ""},
}

// SettingKeys lists the settings.
func SettingKeys() []SettingKey {
	var all []SettingKey
	for k := SettingKey(1); k < settingKeys; k++ {
		all = append(all, k)
	}
	return all
}

// String returns the sysctl's dotted name, or the name of another setting.
func (k SettingKey) String() string { return settingTable[k].name }

// Path returns the file below /proc/sys; "": the setting is no sysctl.
func (k SettingKey) Path() string { return settingTable[k].path }

func (k SettingKey) family() Family {
	if k == IPv6Forward {
		return IPv6
	}
	return IPv4
}
