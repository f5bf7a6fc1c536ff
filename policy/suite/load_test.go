package suite

import (
	"testing"

	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants/policyfile"
)

func loadPolicy(t *testing.T, text string) *projections.View {
	t.Helper()
	f, err := policyfile.Parse("policy.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v, err := policyfile.View(f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
