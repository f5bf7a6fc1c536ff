package negotiate

import (
	"strings"
	"testing"
)

func TestLanguage(t *testing.T) {
	for _, tag := range []string{
		"de", "DE", "de-AT", "zh-Hant-TW", "sl-rozaj-1994", "x-klingon", "i-enochian", "a", "es-419",
		"abcdefgh-abcdefgh-abcdefgh-abcdefgh", // 35 characters
	} {
		if got := language(tag); got != tag {
			t.Errorf("%q becomes %q", tag, got)
		}
	}
	for _, tag := range []string{
		"", "-", "de-", "-de", "de--AT", "1a", "419", "de_AT", "de AT", "de'", "de\x00", "d\xc3\xa9", "de-\xc3\xa9", "[", "@", "`", "{",
		"abcdefghi", "de-abcdefghi", "*", "de-*", "abcdefgh-abcdefgh-abcdefgh-abcdefghi", strings.Repeat("a-", 17) + "ab",
	} {
		if got := language(tag); got != "" {
			t.Errorf("%q is passed on as %q", tag, got)
		}
	}
}
