package jetstream

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// api sends a request to JetStream until there is a leader, and fails if JetStream
// answers with an error.
func api(t *testing.T, conn *nats.Conn, subject string, body any) {
	t.Helper()
	var answer struct {
		Error *apiError `json:"error"`
	}
	eventually(t, "an answer to "+subject, func() bool {
		answer.Error = nil
		err := request(t.Context(), conn, subject, body, &answer)
		return err == nil && !(answer.Error != nil && answer.Error.Code == codeUnavailable)
	})
	if answer.Error != nil {
		t.Fatalf("%s %v: %v", subject, body, answer.Error)
	}
}

// TestUnsafeSettings makes a stream with each unsafe setting, and checks that a node
// refuses it with the setting, its value and the remedy.
func TestUnsafeSettings(t *testing.T) {
	t.Parallel()
	conn := servers(t)[0].conn
	api(t, conn, "$JS.API.STREAM.CREATE.OTHER", map[string]any{"name": "OTHER", "subjects": []string{"other"}, "storage": "memory", "num_replicas": 1})
	type settings = map[string]any
	for name, test := range map[string]struct {
		change, update settings // update is made after the stream
		want           []string
	}{
		"as made":        {},
		"replicas":       {change: settings{"num_replicas": 1}, want: []string{"setting num_replicas is 1, but must be 3 or more", "nats stream edit"}},
		"memory":         {change: settings{"storage": "memory"}, want: []string{`setting storage is "memory", but must be file`, "cannot be changed"}},
		"async persist":  {change: settings{"persist_mode": "async", "num_replicas": 1}, want: []string{`setting persist_mode is "async", but must be default`, "not on disk"}},
		"age":            {change: settings{"max_age": int64(24 * time.Hour)}, want: []string{"setting max_age is 86400000000000, but must be 0"}},
		"messages":       {change: settings{"max_msgs": 1000}, want: []string{"setting max_msgs is 1000, but must be -1"}},
		"bytes":          {change: settings{"max_bytes": 1 << 20}, want: []string{"setting max_bytes is 1048576, but must be -1"}},
		"per subject":    {change: settings{"max_msgs_per_subject": 5}, want: []string{"setting max_msgs_per_subject is 5, but must be -1"}},
		"message size":   {change: settings{"max_msg_size": 1000}, want: []string{"setting max_msg_size is 1000"}},
		"discard":        {change: settings{"discard": "old"}, want: []string{`setting discard is "old", but must be new`}},
		"retention":      {change: settings{"retention": "interest"}, want: []string{`setting retention is "interest", but must be limits`}},
		"delete":         {change: settings{"deny_delete": false}, want: []string{"setting deny_delete is false, but must be true"}},
		"purge":          {change: settings{"deny_purge": false}, want: []string{"setting deny_purge is false, but must be true"}},
		"rollup":         {change: settings{"allow_rollup_hdrs": true, "deny_purge": false}, want: []string{"setting allow_rollup_hdrs is true, but must be false"}},
		"direct":         {change: settings{"allow_direct": false}, want: []string{"setting allow_direct is false, but must be true"}},
		"ttl":            {change: settings{"allow_msg_ttl": false}, want: []string{"setting allow_msg_ttl is", "ticks would fill the disk"}},
		"no republish":   {change: settings{"republish": nil}, want: []string{"setting republish is left out"}},
		"headers only":   {change: settings{"republish": settings{"src": logSubjects, "dest": toldSubjects, "headers_only": true}}, want: []string{"setting republish is"}},
		"told elsewhere": {change: settings{"republish": settings{"src": logSubjects, "dest": "elsewhere.>"}}, want: []string{"setting republish is"}},
		"subjects":       {change: settings{"subjects": []string{"postern.>"}, "republish": settings{"src": logSubjects, "dest": "told.>"}}, want: []string{"setting subjects is"}},
		"sources":        {change: settings{"sources": []settings{{"name": "OTHER"}}}, want: []string{"setting sources is"}},
		"mirror": {
			change: settings{"mirror": settings{"name": "OTHER"}, "subjects": nil, "republish": nil}, want: []string{"setting mirror is"},
		},
		"transform": {
			change: settings{"subject_transform": settings{"src": "postern.log.tick", "dest": "postern.log.batch"}}, want: []string{"setting subject_transform is"},
		},
		"markers":     {change: settings{"subject_delete_marker_ttl": int64(time.Minute), "allow_rollup_hdrs": true, "deny_purge": false}, want: []string{"setting subject_delete_marker_ttl is 60000000000"}},
		"schedules":   {change: settings{"allow_msg_schedules": true, "discard": "old", "allow_rollup_hdrs": true, "deny_purge": false}, want: []string{"setting allow_msg_schedules is true"}},
		"counter":     {change: settings{"allow_msg_counter": true, "allow_msg_ttl": false, "discard": "old"}, want: []string{"setting allow_msg_counter is true"}},
		"no ack":      {change: settings{"no_ack": true}, want: []string{"setting no_ack is true"}},
		"sealed":      {update: settings{"sealed": true}, want: []string{"setting sealed is true, but must be false"}},
		"other's":     {change: settings{"metadata": settings{clusterKey: "globex"}}, want: []string{`belongs to the cluster "globex", and this node is configured for the cluster "acme"`}},
		"nobody's":    {change: settings{"metadata": nil}, want: []string{`belongs to the cluster ""`}},
		"two at once": {change: settings{"max_msgs": 7, "max_bytes": 1 << 20}, want: []string{"max_msgs is 7", "max_bytes is 1048576"}},
		"any values":  {change: settings{"duplicate_window": int64(time.Second), "compression": "s2"}},
	} {
		t.Run(name, func(t *testing.T) {
			made := newSettings("acme")
			maps.Copy(made, test.change)
			api(t, conn, apiCreate, made)
			defer api(t, conn, "$JS.API.STREAM.DELETE."+streamName, nil)
			if test.update != nil {
				maps.Copy(made, test.update)
				api(t, conn, "$JS.API.STREAM.UPDATE."+streamName, made)
			}
			s := NewStream(StreamConfig{Conn: conn, Cluster: "acme", Create: true, SyncAlways: func() bool { return true }, Logger: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if len(test.want) == 0 {
				background(t, s.Run)
				select {
				case <-s.Ready():
				case <-ctx.Done():
					t.Error("a safe stream was not accepted")
				}
				return
			}
			err := s.Run(ctx)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestUnknownSettings(t *testing.T) {
	text, err := json.Marshal(newSettings("acme"))
	if err != nil {
		t.Fatal(err)
	}
	for value, safe := range map[string]bool{"false": true, "0": true, "null": true, "{}": true, "true": false, `{"a":1}`: false} {
		var config map[string]json.RawMessage
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		config["allow_forgetting"] = json.RawMessage(value)
		err := checkSettings(config, "acme")
		if (err == nil) != safe || err != nil && !strings.Contains(err.Error(), "setting allow_forgetting is "+value) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// TestOwnServerMustSync checks that a node refuses a log server of its own that
// does not sync each write.
func TestOwnServerMustSync(t *testing.T) {
	s := NewStream(StreamConfig{Cluster: "acme", SyncAlways: func() bool { return false }})
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "sync_interval must be always") {
		t.Errorf("accepted: %v", err)
	}
}
