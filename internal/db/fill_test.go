package db_test

import (
	"errors"
	"slices"
	"testing"

	"flywheel.dev/flywheel/internal/db"
)

func TestAPageIsFilledWithWhatTheReaderMaySee(t *testing.T) {
	numbers := func(limit, count int, asked *int) func(last *int) ([]int, error) {
		return func(last *int) ([]int, error) {
			*asked++
			from := 1
			if last != nil {
				from = *last + 1
			}
			items := []int{}
			for n := from; n <= count && len(items) < limit; n++ {
				items = append(items, n)
			}
			return items, nil
		}
	}
	third := func(n int) bool { return n%3 == 0 }
	for _, c := range []struct {
		name                string
		limit, count, asked int
		want                []int
	}{
		{"the first few of many", 2, 100, 3, []int{3, 6}},
		{"all of a few", 4, 10, 3, []int{3, 6, 9}},
		{"none of nothing", 5, 0, 1, []int{}},
		{"none where the reader sees nothing", 5, 2, 1, []int{}},
		{"a last page that is just full", 3, 6, 3, []int{3, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			found, err := db.Fill(c.limit, third, numbers(c.limit, c.count, &asked))
			if err != nil || found == nil || !slices.Equal(found, c.want) || asked != c.asked {
				t.Errorf("%v after %d pages, %v; want %v after %d", found, asked, err, c.want, c.asked)
			}
		})
	}
	broken := errors.New("the database is away")
	if found, err := db.Fill(1, third, func(*int) ([]int, error) { return nil, broken }); found != nil || !errors.Is(err, broken) {
		t.Errorf("%v, %v", found, err)
	}
}
