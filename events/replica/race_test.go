//go:build race

package replica

// raceDetector reports whether the race detector watches this test.
const raceDetector = true
