// Package archtest holds the rules of docs/ARCHITECTURE.md that the compiler
// does not: who may import whom, where goroutines start, what code that
// decides must never touch. It is tests only; nothing imports it.
//
// The rules read the source as text, all build tags at once, and need nothing
// but the Go files. A package that is not in the table fails.
package archtest
