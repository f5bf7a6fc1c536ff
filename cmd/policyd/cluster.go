package main

// join waits until this node is a member of its cluster.
func (p *process) join(*stages) error { return nil }
