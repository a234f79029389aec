// Package status arranges what a node has programmed for people to read: by
// Service, each address that clients dial beside the virtual server that
// ipvsadm shows for it.
package status
