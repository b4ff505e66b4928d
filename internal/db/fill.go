package db

// Fill returns the first limit items that the reader may see. It asks for page after page, because a page may
// hold much that is not for this reader. page returns the limit items that follow last, which is nil at the
// beginning; fewer of them mean that there are no more. The list is empty, never nil.
func Fill[T any](limit int, may func(T) bool, page func(last *T) ([]T, error)) ([]T, error) {
	found := []T{}
	var last *T
	for {
		items, err := page(last)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			if len(found) < limit && may(item) {
				found = append(found, item)
			}
		}
		if len(found) == limit || len(items) < limit {
			return found, nil
		}
		last = &items[len(items)-1]
	}
}
