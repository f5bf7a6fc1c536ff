package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// newSettings returns the settings with which the stream is made.
func newSettings(cluster string) map[string]any {
	return map[string]any{
		"name":                 streamName,
		"description":          "the common order of Postern's policy nodes",
		"subjects":             []string{logSubjects},
		"retention":            "limits",
		"storage":              "file",
		"num_replicas":         minReplicas,
		"discard":              "new",
		"max_msgs":             -1,
		"max_bytes":            -1,
		"max_age":              0,
		"max_msgs_per_subject": -1,
		"max_msg_size":         -1,
		"max_consumers":        -1,
		"deny_delete":          true,
		"deny_purge":           true,
		"allow_direct":         true,
		"allow_msg_ttl":        true,
		"republish":            map[string]any{"src": logSubjects, "dest": toldSubjects},
		"metadata":             map[string]string{clusterKey: cluster},
	}
}

// A rule is a demand on one setting of the stream.
type rule struct {
	// fits reports whether the value is safe. It is nil if every value is. The
	// value is nil if the setting is left out.
	fits func(value json.RawMessage) bool
	want string // the safe value, for the operator
	why  string // the harm of any other value
	// fixed says that JetStream cannot change this setting of an existing stream.
	fixed bool
}

// The conditions of rules.
var (
	anything  func(json.RawMessage) bool
	none      = isZero
	unlimited = func(v json.RawMessage) bool {
		n, err := strconv.ParseInt(string(v), 10, 64)
		return isZero(v) || err == nil && n < 0
	}
)

func is(text string) func(json.RawMessage) bool {
	return func(v json.RawMessage) bool { return string(v) == text }
}

func isZero(v json.RawMessage) bool {
	switch string(v) {
	case "", "null", "false", "0", `""`, "[]", "{}":
		return true
	}
	return false
}

const (
	losesEntries = "entries would be removed, and with them commits"
	refusesOffer = "the stream would refuse entries"
	changesOrder = "the nodes would not read the entries that were offered"
)

// rules are the demands on all settings that this version knows.
var rules = map[string]rule{
	"name":                 {fits: is(`"` + streamName + `"`), want: streamName, why: changesOrder, fixed: true},
	"subjects":             {fits: is(`["` + logSubjects + `"]`), want: logSubjects, why: changesOrder},
	"storage":              {fits: is(`"file"`), want: "file", why: "acknowledged commits would be lost when the servers restart", fixed: true},
	"num_replicas":         {fits: enoughReplicas, want: "3 or more", why: "the loss of one server would lose acknowledged commits or stop the cluster"},
	"persist_mode":         {fits: syncs, want: "default", why: "the servers would acknowledge commits that are not on disk", fixed: true},
	"retention":            {fits: is(`"limits"`), want: "limits", why: losesEntries, fixed: true},
	"discard":              {fits: is(`"new"`), want: "new", why: losesEntries},
	"max_age":              {fits: none, want: "0", why: losesEntries},
	"max_msgs":             {fits: unlimited, want: "-1", why: refusesOffer},
	"max_bytes":            {fits: unlimited, want: "-1", why: refusesOffer},
	"max_msgs_per_subject": {fits: unlimited, want: "-1", why: losesEntries},
	"max_msg_size":         {fits: unlimited, want: "-1", why: refusesOffer},
	"deny_delete":          {fits: is("true"), want: "true", why: "entries could be deleted", fixed: true},
	"deny_purge":           {fits: is("true"), want: "true", why: "entries could be purged", fixed: true},
	"allow_rollup_hdrs":    {fits: none, want: "false", why: "a message could replace all entries"},
	"sealed":               {fits: none, want: "false", why: refusesOffer, fixed: true},
	"mirror":               {fits: none, want: "none", why: changesOrder, fixed: true},
	"sources":              {fits: none, want: "none", why: changesOrder},
	"subject_transform":    {fits: none, want: "none", why: changesOrder},
	"republish":            {fits: republishes, want: logSubjects + " to " + toldSubjects + " with content", why: "the nodes would wait for each entry"},
	"allow_direct":         {fits: is("true"), want: "true", why: "a node could not fetch entries that it lacks"},
	"allow_msg_ttl":        {fits: is("true"), want: "true", why: "ticks would fill the disk", fixed: true},
	"allow_msg_counter":    {fits: none, want: "false", why: refusesOffer, fixed: true},
	"allow_msg_schedules":  {fits: none, want: "false", why: "entries could be ordered long after they were offered", fixed: true},
	// A marker would stand in the order in place of an expired tick.
	"subject_delete_marker_ttl": {fits: none, want: "0", why: changesOrder},
	"discard_new_per_subject":   {fits: none, want: "false", why: refusesOffer},
	"no_ack":                    {fits: none, want: "false", why: "an operator could not see whether the stream accepts entries"},
	"metadata":                  {fits: anything}, // the cluster's name in it is checked apart

	"description":      {fits: anything},
	"compression":      {fits: anything},
	"placement":        {fits: anything},
	"duplicate_window": {fits: anything}, // no entry has a message id
	"max_consumers":    {fits: anything},
	"consumer_limits":  {fits: anything},
	"first_seq":        {fits: anything},
	"mirror_direct":    {fits: anything}, // of mirrors of this stream
	"allow_atomic":     {fits: anything},
	"allow_batched":    {fits: anything},
}

func enoughReplicas(v json.RawMessage) bool {
	n, err := strconv.Atoi(string(v))
	return err == nil && n >= minReplicas
}

func syncs(v json.RawMessage) bool { return isZero(v) || string(v) == `"default"` }

func republishes(v json.RawMessage) bool {
	var r struct {
		Source      string `json:"src"`
		Destination string `json:"dest"`
		HeadersOnly bool   `json:"headers_only"`
	}
	d := json.NewDecoder(bytes.NewReader(v))
	d.DisallowUnknownFields()
	return d.Decode(&r) == nil && r.Source == logSubjects && r.Destination == toldSubjects && !r.HeadersOnly
}

// checkSettings returns an error for each setting under which the stream could
// lose, refuse or change entries, and for a stream of another cluster.
func checkSettings(config map[string]json.RawMessage, cluster string) error {
	var errs []error
	names := slices.Collect(maps.Keys(rules))
	for name := range config {
		if _, known := rules[name]; !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		value := plain(config[name])
		r, known := rules[name]
		switch {
		case !known && !isZero(value):
			errs = append(errs, fmt.Errorf("setting %s is %s, and this version does not know whether that is safe: "+
				"remove the setting, or upgrade policyd", name, value))
		case known && r.fits != nil && !r.fits(value):
			errs = append(errs, r.refuse(name, value))
		}
	}
	errs = append(errs, checkOwner(config["metadata"], cluster))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the stream %s is not safe:\n%w", streamName, err)
	}
	return nil
}

// plain writes a value as is and the rules expect it: in the shortest form, and
// without the escapes with which JSON may write characters like ">".
func plain(value json.RawMessage) json.RawMessage {
	var v any
	var b bytes.Buffer
	d, e := json.NewDecoder(bytes.NewReader(value)), json.NewEncoder(&b)
	d.UseNumber()
	e.SetEscapeHTML(false)
	if d.Decode(&v) != nil || e.Encode(v) != nil {
		return value // left out, or not JSON; no rule accepts the latter
	}
	return bytes.TrimSpace(b.Bytes())
}

func (r *rule) refuse(name string, value json.RawMessage) error {
	remedy := "change it with: nats stream edit " + streamName
	if r.fixed {
		remedy = "this setting cannot be changed: remove the stream if it is not in use, and let the node that created the cluster make it again"
	}
	shown := string(value)
	if shown == "" {
		shown = "left out"
	}
	return fmt.Errorf("setting %s is %s, but must be %s, because otherwise %s; %s", name, shown, r.want, r.why, remedy)
}

// checkOwner returns an error if the stream does not belong to the cluster.
func checkOwner(metadata json.RawMessage, cluster string) error {
	var m map[string]string
	if len(metadata) > 0 {
		if err := json.Unmarshal(metadata, &m); err != nil {
			return fmt.Errorf("read the stream's metadata: %w", err)
		}
	}
	if owner := m[clusterKey]; owner != cluster {
		return fmt.Errorf("it belongs to the cluster %q, and this node is configured for the cluster %q: "+
			"correct [cluster] name, or give each cluster a NATS account of its own", owner, cluster)
	}
	return nil
}
