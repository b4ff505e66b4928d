// Package backlog holds what people want: for now stories with a title, so that a change can say what it
// is for with the trailer `Story: STY-12`.
//
// Deliberately absent until they are built: ideas, sprints, scores, hypotheses and outcomes.
package backlog

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// Story is something to be built, with a reason.
type Story struct {
	ID        string    `json:"id"`
	Key       string    `json:"key" doc:"What people write, for example STY-12"`
	Title     string    `json:"title"`
	Team      string    `json:"team"`
	State     string    `json:"state" enum:"open,done"`
	CreatedBy string    `json:"createdBy"`
	CreatedAt time.Time `json:"createdAt"`

	number int64
}

// Service keeps stories.
type Service struct{ DB *db.DB }

// Create records a story for a team.
func (s *Service) Create(ctx context.Context, title, team string) (st Story, err error) {
	if title = strings.TrimSpace(title); title == "" {
		return st, fault.New(fault.Invalid, "story.title_missing", "A story needs a title.").At("title", "missing")
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		owner, err := account.TeamFor(tx, account.PlanStories, team)
		if err != nil {
			return err
		}
		st = Story{ID: db.NewID("sty"), Title: title, Team: owner.Name, State: "open", CreatedBy: account.From(ctx).Name, CreatedAt: tx.Now()}
		if err := tx.Serialize(); err != nil { // so that the number is free
			return err
		}
		if err := tx.QueryRow(`select coalesce(max(number), 0) + 1 from story`).Scan(&st.number); err != nil {
			return err
		}
		st.Key = fmt.Sprintf("STY-%d", st.number)
		web.Touch(tx, web.Topic{Noun: web.NounStory, ID: st.ID, Team: st.Team})
		if _, err := tx.Exec(`insert into story (id, number, title, team, state, created_by, created_at) values ($1,$2,$3,$4,$5,$6,$7)`,
			st.ID, st.number, st.Title, st.Team, st.State, st.CreatedBy, st.CreatedAt); err != nil {
			return err
		}
		return event.Emit(tx, event.StoryCreated{Story: st.ID, Key: st.Key, Team: st.Team})
	})
	return st, err
}

// List returns the stories of a team, or with "" of all teams of the actor, newest first, before a number.
func (s *Service) List(ctx context.Context, team string, before int64, limit int) (found []Story, err error) {
	actor := account.From(ctx)
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if team != "" {
			if _, err := account.TeamByName(tx, team); err != nil {
				return err
			}
		}
		found, err = db.Fill(limit, func(st Story) bool { return actor.Sees(st.Team) }, func(last *Story) ([]Story, error) {
			if last != nil {
				before = last.number
			}
			return db.Collect(tx, func(r db.Row) (st Story, err error) {
				err = r.Scan(&st.ID, &st.number, &st.Title, &st.Team, &st.State, &st.CreatedBy, &st.CreatedAt)
				st.Key = fmt.Sprintf("STY-%d", st.number)
				return st, err
			}, `select id, number, title, team, state, created_by, created_at from story where number < $1 and ($2 = '' or team = $2) order by number desc limit $3`, before, team, limit)
		})
		return err
	})
	return found, err
}

// Routes registers the operations of stories.
func (s *Service) Routes(api *web.API) {
	huma.Register(api, huma.Operation{OperationID: "list-stories", Method: http.MethodGet, Path: "/api/v1/stories", Tags: []string{"stories"},
		Summary: "List stories, newest first"}, s.listHTTP)
	huma.Register(api, huma.Operation{OperationID: "create-story", Method: http.MethodPost, Path: "/api/v1/stories", Tags: []string{"stories"},
		Summary: "Record a story", DefaultStatus: http.StatusCreated}, s.createHTTP)
}

type storyListInput struct {
	web.Paging
	Team string `query:"team" maxLength:"100" doc:"Of this team only"`
}

func (s *Service) listHTTP(ctx context.Context, in *storyListInput) (*web.Page[Story], error) {
	before := int64(1) << 62
	if _, err := in.After(&before); err != nil {
		return nil, err
	}
	found, err := s.List(ctx, in.Team, before, in.Limit+1)
	return web.Paged(found, in.Limit, func(st Story) any { return st.number }), err
}

type storyCreateInput struct {
	Body struct {
		Title string `json:"title" maxLength:"200"`
		Team  string `json:"team" maxLength:"100"`
	}
}

type storyOutput struct {
	Body Story
}

func (s *Service) createHTTP(ctx context.Context, in *storyCreateInput) (*storyOutput, error) {
	st, err := s.Create(ctx, in.Body.Title, in.Body.Team)
	return &storyOutput{st}, err
}
