package web

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"

	"flywheel.dev/flywheel/internal/fault"
)

// Paging is the part of a list operation's input that says which page. Embed it.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"At most this many items"`
	Cursor string `query:"cursor" maxLength:"500" doc:"The next of the page before"`
}

// Page is the output of a list operation.
type Page[T any] struct {
	Body struct {
		Items []T    `json:"items"`
		Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one"`
	}
}

// After reads the cursor into key, a pointer to what Paged got from its key function, and reports
// whether there is one. Without a cursor, key keeps its value.
func (p Paging) After(key any) (bool, error) {
	if p.Cursor == "" {
		return false, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		err = unmarshal(text, key)
	}
	if err != nil {
		return false, fault.New(fault.Invalid, "cursor.malformed", "The cursor is not one that a list returned.").
			Do("Leave it out to start at the beginning.").At("query.cursor", "unreadable")
	}
	return true, nil
}

// Paged makes a page from items, of which the caller fetched one more than limit, so that it shows
// whether there is a next page; key returns what identifies the place of an item in the order.
func Paged[T any](items []T, limit int, key func(T) any) *Page[T] {
	page := &Page[T]{}
	if len(items) > limit {
		items = items[:limit]
		page.Body.Next = Cursor(key(items[limit-1]))
	}
	if items == nil {
		items = []T{}
	}
	page.Body.Items = items
	return page
}

// Cursor returns key as an opaque cursor.
func Cursor(key any) string {
	text, err := json.Marshal(key)
	if err != nil {
		panic(fmt.Sprintf("web: %T cannot be a cursor: %v", key, err))
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// ETag returns the entity tag of a thing in its present state; v is usually the moment it was last
// changed, or a version.
func ETag(v ...any) string {
	hash := fnv.New64a()
	fmt.Fprint(hash, v...)
	return fmt.Sprintf("%q", fmt.Sprintf("%x", hash.Sum64()))
}

// Match checks an If-Match header against the present entity tag: an empty header and "*" match
// everything; else the thing was changed meanwhile, by the person with the name by where that is known.
func Match(ifMatch, present, by string) error {
	if ifMatch == "" || ifMatch == "*" || ifMatch == present {
		return nil
	}
	if by == "" {
		by = "Somebody else"
	}
	return fault.New(fault.Stale, "edit.stale", "%s has changed this since you read it.", by).
		Do("Read it again and repeat the change.")
}
