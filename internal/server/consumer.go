package server

import (
	"context"
	"fmt"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/web"
)

func (s *Server) listConsumers(ctx context.Context, in *struct{ web.Paging }) (*web.Page[event.Place], error) {
	if err := account.From(ctx).Require(account.ViewConsumers, ""); err != nil {
		return nil, err
	}
	var first int
	if _, err := in.After(&first); err != nil {
		return nil, err
	}
	places, err := s.Consumers.Places(ctx)
	if err != nil {
		return nil, err
	}
	page := &web.Page[event.Place]{}
	first = min(max(first, 0), len(places))
	page.Body.Items = places[first:min(first+in.Limit, len(places))]
	if next := first + in.Limit; next < len(places) {
		page.Body.Next = web.Cursor(next)
	}
	return page, nil
}

type skipInput struct {
	Consumer string `path:"consumer" maxLength:"100" doc:"Name of the consumer"`
	Body     struct {
		Event string `json:"event" minLength:"1" maxLength:"100" doc:"Id of the fact where it stands still" example:"evt_d0c5ghq23akk2s3lvr9g"`
	}
}

type skipOutput struct {
	Body event.Place
}

func (s *Server) skipFact(ctx context.Context, in *skipInput) (*skipOutput, error) {
	out := &skipOutput{}
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if err := account.From(ctx).Require(account.SkipFact, ""); err != nil {
			return err
		}
		p, err := s.Consumers.Skip(tx, in.Consumer, in.Body.Event)
		if err != nil {
			return err
		}
		out.Body = p
		return account.Audit(tx, account.Entry{Action: "consumer.skip", Subject: in.Consumer, Decision: "allowed",
			Reason: fmt.Sprintf("%s, %s of %s, after %d attempts: %s", p.Event, p.Type, p.Subject, p.Attempts, p.Failure)})
	})
	return out, err
}
