package db

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestIdsSortInTheOrderTheyWereMade(t *testing.T) {
	var ids []string
	for range 100_000 { // many in one millisecond
		ids = append(ids, NewID("chg"))
	}
	for i, id := range ids[1:] {
		if id <= ids[i] {
			t.Fatalf("%s was made after %s", id, ids[i])
		}
		if strings.Trim(strings.TrimPrefix(id, "chg_"), "0123456789abcdefghijklmnopqrstuv") != "" || len(id) != len("chg_")+20 {
			t.Fatalf("%s is no id", id)
		}
	}
}

func TestIdsOfManyAtOnceAreDifferentAndInTheOrderOfEach(t *testing.T) {
	const many, each = 8, 5000
	made := make([][]string, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			for range each {
				made[i] = append(made[i], NewID("evt"))
			}
		})
	}
	all.Wait()
	for i, ids := range made {
		if !slices.IsSorted(ids) {
			t.Errorf("the ids of goroutine %d are not in the order they were made", i)
		}
	}
	together := slices.Concat(made...)
	slices.Sort(together)
	if n := len(slices.Compact(together)); n != many*each {
		t.Errorf("%d of %d ids are different", n, many*each)
	}
}
