// Package traffic reads what the kernel counts for Services: connections and packets,
// what it refuses for want of endpoints, and how full its tables are.
//
//	Reader              joins the counters of IPVS with the names of Services and pods
//	NewCollector        what it reads, as metrics of Service ports and endpoints; opt-in
//	NewTablesCollector  what the kernel refuses and how full its tables are, as metrics
//	Rates               what Services have had since the last reading
package traffic
