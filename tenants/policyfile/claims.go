package policyfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Claims are what a file wants for its tenant alone: the tenant's id, and its
// domains and services.
type Claims struct {
	File, Tenant string
	Names        []Claim
}

// A Claim is a domain or service a file has, prepared, and where.
type Claim struct {
	Name         string
	Line, Column int
}

// Claims are the file's, in its order. They are small: a program that reads many
// files keeps their claims instead of the files.
func (f *File) Claims() Claims {
	names := slices.SortedFunc(maps.Keys(f.source.places), func(a, b string) int { return f.source.places[a] - f.source.places[b] })
	c := Claims{File: f.source.name, Tenant: f.Tenant, Names: make([]Claim, len(names))}
	for i, name := range names {
		c.Names[i].Name = name
		c.Names[i].Line, c.Names[i].Column = f.source.lines.place(f.source.places[name])
	}
	return c
}

// Clashes finds names that two files claim. Such files cannot be applied together.
// It gives at most one clash for each file.
func Clashes(all []Claims) (errs []error) {
	tenants, owners := map[string]string{}, map[string]string{} // by the file
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
