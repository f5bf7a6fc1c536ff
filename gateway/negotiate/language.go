package negotiate

import "strings"

const (
	// ownLanguage is the language of a stream before a backend has answered, or
	// if the backend names no language.
	ownLanguage = "en"
	// maxLanguage bounds a language tag. RFC 5646 section 4.4.1 asks to allow
	// 35 characters.
	maxLanguage = 35
)

// language returns a stream's xml:lang (RFC 6120 section 4.7.4) if it has the
// form of a language tag: parts of at most 8 letters and digits, separated by
// hyphens, the first of letters only (RFC 5646 section 2.1). It returns "" for
// any other value, so that the gateway does not forward it.
func language(tag string) string {
	if len(tag) > maxLanguage {
		return ""
	}
	digits := false // allowed after the first hyphen
	for part := range strings.SplitSeq(tag, "-") {
		if len(part) == 0 || len(part) > 8 {
			return ""
		}
		for _, c := range []byte(part) {
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			digit := '0' <= c && c <= '9'
			if !letter && !(digit && digits) {
				return ""
			}
		}
		digits = true
	}
	return tag
}
