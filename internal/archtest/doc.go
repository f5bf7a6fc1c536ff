// Package archtest tests the rules of docs/ARCHITECTURE.md that the compiler does
// not check: which package may import which, which functions may start goroutines,
// which packages do no I/O and read no clock, and how comments are written. It has
// only tests; no package imports it.
//
// The tests parse the Go files of all build tags. A package without a line in the
// import table fails.
package archtest
