//go:build cgo

package expat_test

import (
	"reflect"
	"testing"

	"github.com/postern-im/postern/internal/expat"
)

func TestParse(t *testing.T) {
	t.Logf("%s", expat.Version())
	root, err := expat.Parse('\n', "<r xmlns='u:r'>", "<a x='1&#9;2\t3'>one<b xmlns:p='u:p' p:q='&lt;'/>&amp;<![CDATA[<]]></a>", "</r>")
	if err != nil {
		t.Fatal(err)
	}
	want := &expat.Element{Space: "u:r", Local: "r", Children: []*expat.Element{{
		Space: "u:r", Local: "a", Text: "one&<",
		Attrs: []expat.Attr{{Local: "x", Value: "1\t2 3"}},
		Children: []*expat.Element{{
			Space: "u:r", Local: "b",
			Attrs: []expat.Attr{{Space: "u:p", Local: "q", Value: "<"}},
		}},
	}}}
	if !reflect.DeepEqual(root, want) {
		t.Errorf("got %+v", root)
	}
	for _, bad := range []string{"<a", "<a x='' x=''/>", "<p:a/>", "<a/><", "&#0;", "<a></b>", "</r><r>"} {
		if _, err := expat.Parse('\n', "<r>", bad, "</r>"); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
