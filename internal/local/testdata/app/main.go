// Command app is what the tests deploy: a small server whose behaviour comes from the file `mode` of its
// artifact and whose answers carry the file `version`.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	version, mode := text("version"), text("mode")
	fmt.Println("starting", version, mode, "with", os.Getenv("TOKEN"))
	switch mode {
	case "crash":
		fmt.Fprintln(os.Stderr, "boom: no configuration")
		os.Exit(3)
	case "hog":
		hog()
	case "late":
		time.Sleep(time.Minute)
	}
	http.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if mode == "sick" {
			fmt.Println("the database does not answer")
			http.Error(w, "sick", 500)
		}
	})
	http.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", version, os.Getenv("FLYWHEEL_PROCESS"))
	})
	http.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, os.Getenv(r.FormValue("name"))) })
	http.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("slow request")
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		io.WriteString(w, version)
	})
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	http.HandleFunc("GET /exit", func(w http.ResponseWriter, r *http.Request) { os.Exit(7) })
	http.HandleFunc("GET /hog", func(w http.ResponseWriter, r *http.Request) { hog() })
	http.HandleFunc("GET /read", func(w http.ResponseWriter, r *http.Request) {
		entries, err := os.ReadDir(r.FormValue("path"))
		for _, entry := range entries {
			fmt.Fprintln(w, entry.Name())
		}
		if err != nil {
			content, err := os.ReadFile(r.FormValue("path"))
			if err != nil {
				http.Error(w, err.Error(), 404)
				return
			}
			w.Write(content)
		}
	})
	http.HandleFunc("POST /write", func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		if err := os.WriteFile(r.FormValue("path"), content, 0o600); err != nil {
			http.Error(w, err.Error(), 403)
		}
	})
	http.HandleFunc("GET /fetch", func(w http.ResponseWriter, r *http.Request) {
		response, err := http.Get(r.FormValue("url"))
		if err != nil {
			http.Error(w, err.Error(), 502)
			return
		}
		defer response.Body.Close()
		io.Copy(w, response.Body)
	})
	http.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintln(w, i)
			http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	http.HandleFunc("GET /upgrade", func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		for lines := bufio.NewScanner(buffered); lines.Scan(); {
			fmt.Fprintln(conn, "echo", lines.Text())
		}
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT")}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		fmt.Println("stopping politely")
		server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func text(name string) string {
	content, _ := os.ReadFile(name)
	return strings.TrimSpace(string(content))
}

func hog() {
	var all [][]byte
	for {
		page := make([]byte, 8<<20)
		for i := range page {
			page[i] = 1
		}
		all = append(all, page)
		time.Sleep(time.Millisecond)
	}
}
