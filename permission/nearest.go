package permission

// Nearest returns the permission whose name is most similar to a misspelt name,
// as a suggestion for an error message. It returns false if no name is similar
// enough.
func Nearest(name string) (Permission, bool) {
	best, least := Permission(0), max(2, len(name)/4)+1
	if len(name) > maxNameBytes {
		return best, false
	}
	found := false
	for p := range All() {
		if n := distance(name, p.Name()); n < least {
			best, least, found = p, n, true
		}
	}
	return best, found
}

// distance returns the least number of bytes to replace, insert or delete in
// order to turn a into b (Levenshtein distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
