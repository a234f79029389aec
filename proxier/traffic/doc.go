// Package traffic reads the kernel's counters for Services: connections and packets,
// packets refused for want of endpoints, and the fill of the kernel's tables.
//
//	Reader              joins the counters of IPVS with the names of Services and pods
//	NewCollector        exports them as metrics of Service ports and endpoints; opt-in
//	NewTablesCollector  exports refused packets and the fill of the kernel's tables
//	Rates               computes the rates of Services between two readings
package traffic
