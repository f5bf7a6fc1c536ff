package main

type clusterCmd struct {
	Init  clusterInit  `cmd:"" help:"Make the certificates and the configuration of a new cluster's nodes. Needs no node."`
	Issue clusterIssue `cmd:"" help:"Issue certificates for one more node, or new ones for a node. Needs no node."`
}
