package server

import (
	"net/http"
	"reflect"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// atParam is the parameter for the moment at which a tenant is read.
func atParam() param {
	return param{name: "at", max: maxMoment, doc: "return the state at this moment: " + momentDoc + "; absent: now"}
}

// past makes a handler that reads one tenant as it is now or, with the query
// parameter at, as it was at that moment. read is the same for both.
func (s *Server) past(read func(*http.Request, *projections.View, *projections.Tenant) (any, error)) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		v, t, as, err := s.tenantAt(r)
		if err != nil {
			return nil, err
		}
		reply, err := read(r, v, t)
		if err != nil {
			return nil, err
		}
		return dated(reply, as), nil
	}
}

// dated sets the field AsOf of a reply about the past. reflect is used because the
// replies have different types.
func dated(reply any, as api.AsOf) any {
	if as.At == nil {
		return reply
	}
	v := reflect.New(reflect.TypeOf(reply)).Elem()
	v.Set(reflect.ValueOf(reply))
	v.FieldByName("AsOf").Set(reflect.ValueOf(as))
	return v.Interface()
}

// tenantAt returns the tenant of the path at the moment of the query, and the View
// that has it.
func (s *Server) tenantAt(r *http.Request) (*projections.View, *projections.Tenant, api.AsOf, error) {
	v, err := s.view()
	if err != nil {
		return nil, nil, api.AsOf{}, err
	}
	asked := queryOf(r).text("at")
	if asked == "" {
		t, err := tenantOf(r, v)
		return v, t, api.AsOf{}, err
	}
	id := r.PathValue("tenant")
	at, as, err := s.moment(v, "at", asked)
	if err != nil {
		return nil, nil, api.AsOf{}, err
	}
	if !v.Used([]byte(id)) {
		return nil, nil, api.AsOf{}, notFound("no tenant %q", id)
	}
	then, err := s.history.At(r.Context(), callerOf(r.Context()).inHistory(), id, at)
	if err != nil {
		return nil, nil, api.AsOf{}, err
	}
	t := then.Tenant([]byte(id))
	switch {
	case t != nil:
		if !callerOf(r.Context()).operator {
			// The commit at this position may be another tenant's, whose time
			// this tenant must not learn.
			as.At.Time = then.Time()
		}
		return then, t, as, nil
	case then.Used([]byte(id)):
		return nil, nil, api.AsOf{}, notFound("tenant %q was already removed at position %d; give an earlier moment", id, at)
	}
	return nil, nil, api.AsOf{}, notFound("tenant %q did not exist yet at position %d", id, at)
}

// moment returns the position of a moment in the log.
func (s *Server) moment(v *projections.View, name, asked string) (events.Position, api.AsOf, error) {
	if s.log == nil {
		return 0, api.AsOf{}, &api.Error{Code: api.CodeUnavailable, Text: "this node has no log to show, and therefore no past"}
	}
	m, err := parseMoment(name, asked, time.Now())
	if err != nil {
		return 0, api.AsOf{}, err
	}
	at := m.position
	if at == 0 {
		if at, err = s.log.PositionAt(m.time); err != nil {
			return 0, api.AsOf{}, err
		}
		at = min(at, v.Position()) // the View may be slightly behind the log
		if at == 0 {
			return 0, api.AsOf{}, notFound("%s: the log has no commit as old as %s", name, m.time.Format(time.RFC3339))
		}
	}
	if at > v.Position() {
		return 0, api.AsOf{}, notFound("%s: there is no position %d yet: the newest is %d", name, at, v.Position())
	}
	c, err := s.log.Commit(at)
	if err != nil {
		return 0, api.AsOf{}, err
	}
	return at, api.AsOf{At: &api.Moment{Position: uint64(at), Time: c.Time}}, nil
}
