package policyfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Claims are the names that a file claims for its tenant alone: the tenant's id,
// its domains and its services.
type Claims struct {
	File, Tenant string
	Names        []Claim
}

// A Claim is the prepared name of a domain or service, with its place in the
// file.
type Claim struct {
	Name         string
	Line, Column int
}

// Claims returns the file's claims, in the order of the file. They are small, so
// a program that reads many files can keep the claims instead of the files.
func (f *File) Claims() Claims {
	names := slices.SortedFunc(maps.Keys(f.source.places), func(a, b string) int { return f.source.places[a] - f.source.places[b] })
	c := Claims{File: f.source.name, Tenant: f.Tenant, Names: make([]Claim, len(names))}
	for i, name := range names {
		c.Names[i].Name = name
		c.Names[i].Line, c.Names[i].Column = f.source.lines.place(f.source.places[name])
	}
	return c
}

// Clashes returns an error for each file that claims a name of an earlier file,
// at most one for each file. Such files cannot be applied together.
func Clashes(all []Claims) (errs []error) {
	tenants, owners := map[string]string{}, map[string]string{} // the file of each name
	for _, c := range all {
		if other, taken := tenants[c.Tenant]; taken {
			errs = append(errs, fmt.Errorf("%s and %s are both the policy of tenant %s", other, c.File, c.Tenant))
			continue
		}
		tenants[c.Tenant] = c.File
		for _, name := range c.Names {
			if other, taken := owners[name.Name]; taken {
				errs = append(errs, errors.New(Note{File: c.File, Line: name.Line, Column: name.Column, Text: fmt.Sprintf(
					"%s is in %s as well: a domain or service has only one tenant", name.Name, other)}.String()))
				break
			}
			owners[name.Name] = c.File
		}
	}
	return errs
}
