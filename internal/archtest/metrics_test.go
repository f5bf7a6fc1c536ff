package archtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDashboardsUseMetricsThatExist: alerts and the dashboard name only metrics of
// docs/METRICS.md, which other tests compare with the daemons. A typing mistake in an
// alert would keep it silent for ever.
func TestDashboardsUseMetricsThatExist(t *testing.T) {
	list, err := os.ReadFile(filepath.Join("..", "..", "docs", "METRICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+)").FindAllStringSubmatch(string(list), -1) {
		known[row[1]] = true
		if row[2] == "histogram" {
			known[row[1]+"_bucket"], known[row[1]+"_sum"], known[row[1]+"_count"] = true, true, true
		}
	}
	if len(known) < 30 {
		t.Fatalf("%d metrics in the list", len(known))
	}
	name := regexp.MustCompile(`\bpostern_[a-z_]+\b`)
	for _, file := range []string{"prometheus/postern.rules.yml", "prometheus/postern.rules_test.yml", "grafana/postern.json"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllString(string(text), -1)
		if len(found) < 5 {
			t.Errorf("%s: %d metrics", file, len(found))
		}
		for _, m := range found {
			if !known[m] {
				t.Errorf("%s: no metric %s", file, m)
			}
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is not JSON", file)
		}
	}
}

// TestAlertsHaveARunbook: each alert links a section of the runbook that exists.
func TestAlertsHaveARunbook(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", "postern.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	runbook, err := os.ReadFile(filepath.Join("..", "..", "docs", "RUNBOOK.md"))
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(string(runbook), -1) {
		anchor := strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")
		anchors[regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(anchor, "")] = true
	}
	alerts := len(regexp.MustCompile(`(?m)^ *- alert: `).FindAllString(string(rules), -1))
	links := regexp.MustCompile(`(?m)^ *runbook: docs/RUNBOOK\.md#([a-z0-9-]+)$`).FindAllStringSubmatch(string(rules), -1)
	if alerts == 0 || len(links) != alerts {
		t.Errorf("%d alerts, %d links to the runbook", alerts, len(links))
	}
	for _, link := range links {
		if !anchors[link[1]] {
			t.Errorf("the runbook has no section %s", link[1])
		}
	}
}
