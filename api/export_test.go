package api

import (
	"net/http"
	"slices"
	"strings"
)

// MaxRunning bounds the requests being worked on.
const MaxRunning = maxRunning

// CommandNames lists the commands the server knows, sorted.
func CommandNames() []string {
	var names []string
	for name := range commands() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadPaths lists the paths of the reads, sorted.
func ReadPaths() []string {
	var list []string
	for _, rt := range (&Server{commands: commands()}).table() {
		if rt.method == http.MethodGet {
			list = append(list, rt.path)
		}
	}
	slices.SortFunc(list, strings.Compare)
	return list
}
