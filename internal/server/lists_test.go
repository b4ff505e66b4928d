package server_test

import (
	"encoding/json"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
)

// description is the part of openapi.json that tests read.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct {
			Name string `json:"name"`
		} `json:"parameters"`
	} `json:"paths"`
}

// described returns what openapi.json says.
func described(t *testing.T) (api description) {
	t.Helper()
	text, err := os.ReadFile("../../openapi.json")
	must(t, err)
	must(t, json.Unmarshal(text, &api))
	return api
}

// TestEveryListIsReadPageByPage holds for lists that come later too: each takes a limit and a cursor, and
// those of a name alone give the same items in pages of one as in a single page.
func TestEveryListIsReadPageByPage(t *testing.T) {
	api, p := described(t), newPlatform(t)
	p.admin.must("POST", "/environments", map[string]any{"name": "audit", "class": "production", "after": "prod", "target": "local"}, nil)
	for _, title := range []string{"Search near a place", "A queue", "Mail"} {
		p.admin.must("POST", "/pattern-requests", map[string]any{"title": title}, nil)
		p.admin.must("POST", "/patterns", map[string]any{"name": strings.ToLower(title[:1]) + "-pattern", "title": title}, nil)
	}
	type page struct {
		Items []json.RawMessage `json:"items"`
		Next  string            `json:"next"`
	}
	lists, whole := 0, map[string]int{}
	for path, operations := range api.Paths {
		get := operations["get"]
		if !strings.HasPrefix(get.OperationID, "list-") {
			continue
		}
		lists++
		has := map[string]bool{}
		for _, in := range get.Parameters {
			has[in.Name] = true
		}
		if !has["limit"] || !has["cursor"] {
			t.Errorf("%s takes no limit or no cursor", get.OperationID)
		}
		// Events and the audit log grow while they are read.
		if strings.Contains(path, "{") || get.OperationID == "list-events" || get.OperationID == "list-audit" || get.OperationID == "list-change-effects" {
			continue
		}
		path = strings.TrimPrefix(path, "/api/v1")
		var all page
		p.admin.must("GET", path+"?limit=200", nil, &all)
		var one page
		read := []json.RawMessage{}
		for cursor := ""; len(read) <= len(all.Items); cursor = one.Next {
			one = page{}
			p.admin.must("GET", path+"?limit=1&cursor="+url.QueryEscape(cursor), nil, &one)
			read = append(read, one.Items...)
			if one.Next == "" {
				break
			}
		}
		if !reflect.DeepEqual(names(t, read), names(t, all.Items)) {
			t.Errorf("%s page by page gives %s, whole %s", get.OperationID, read, all.Items)
		}
		whole[get.OperationID] = len(read)
	}
	if lists < 16 || whole["list-environments"] < 3 || whole["list-patterns"] < 3 || whole["list-pattern-requests"] != 3 {
		t.Errorf("%d lists, read whole: %v", lists, whole)
	}
}

// names returns what tells the items of a list apart.
func names(t *testing.T, items []json.RawMessage) (found []string) {
	for _, item := range items {
		var it struct{ ID, Name string }
		must(t, json.Unmarshal(item, &it))
		found = append(found, it.ID+it.Name)
	}
	return found
}
