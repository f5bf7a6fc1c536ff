package backend

import "testing"

// The names come from a folder that Prosody wrote.
func TestStoreName(t *testing.T) {
	for name, want := range map[string]string{
		"alpha.test": "alpha%2etest",
		"u-lab.1_x":  "u%2dlab%2e1%5fx",
		"alice":      "alice",
	} {
		if got := storeName(name); got != want {
			t.Errorf("storeName(%q) = %q, want %q", name, got, want)
		}
	}
}
