package natsserver

import (
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// A User is an nkey with its permissions. A subject that is not listed is
// refused.
type User struct {
	PublicKey string // U…
	Publish   []string
	Subscribe []string
	// InProcess restricts the key to connections inside this process.
	InProcess bool
}

// SetUsers replaces the users. When it returns, a user that is not in the list is
// disconnected and cannot connect again. The connections of all others stay open,
// with their subscriptions. After an error the users are as before. SetUsers may be
// called before Run and while it runs.
func (s *Server) SetUsers(users []User) error {
	opts := *s.base // ReloadOptions keeps the options that it gets
	var err error
	if opts.Nkeys, err = nkeyUsers(users); err != nil {
		return fmt.Errorf("NATS server: set the users: %w", err)
	}
	if err := s.server.ReloadOptions(&opts); err != nil {
		return fmt.Errorf("NATS server: set the users: %w", err)
	}
	return nil
}

// nkeyUsers converts users for the server. It refuses an empty list, because the
// server would then let everybody connect.
func nkeyUsers(users []User) ([]*server.NkeyUser, error) {
	if len(users) == 0 {
		return nil, errors.New("no users: nobody could connect")
	}
	list := make([]*server.NkeyUser, 0, len(users))
	seen := make(map[string]bool, len(users))
	for _, u := range users {
		switch {
		case !nkeys.IsValidPublicUserKey(u.PublicKey):
			return nil, fmt.Errorf("%q is not a public user key", u.PublicKey)
		case seen[u.PublicKey]:
			return nil, fmt.Errorf("key %s belongs to two users", u.PublicKey)
		}
		seen[u.PublicKey] = true
		list = append(list, u.nkey())
	}
	return list, nil
}

func (u *User) nkey() *server.NkeyUser {
	n := &server.NkeyUser{Nkey: u.PublicKey, Permissions: &server.Permissions{
		Publish:   allow(u.Publish),
		Subscribe: allow(u.Subscribe),
	}}
	if u.InProcess {
		n.AllowedConnectionTypes = map[string]struct{}{jwt.ConnectionTypeInProcess: {}}
	}
	return n
}

// allow permits the given subjects. Without subjects it denies all, because the
// server interprets an empty list as "everything".
func allow(subjects []string) *server.SubjectPermission {
	if len(subjects) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: subjects}
}
