// Command app is what the tests deploy: it answers HTTP on $PORT and behaves as the file `mode` beside it
// says, so that a commit can make it slow or sick. It is built once and committed as a binary.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	mode := map[string]string{}
	text, _ := os.ReadFile("mode")
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		mode[key] = value
	}
	// What it leaves on its volume tells how often each version was started.
	if f, err := os.OpenFile("/data/starts", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintf(f, "%s\n", mode["version"])
		f.Close()
	}
	pause(mode["start"])
	if mode["crash"] != "" {
		fmt.Println("this version cannot start")
		os.Exit(3)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go answer(c, mode)
	}
}

func answer(c net.Conn, mode map[string]string) {
	defer c.Close()
	in := bufio.NewReader(c)
	first, err := in.ReadString('\n')
	for line := first; err == nil && strings.TrimSpace(line) != ""; {
		line, err = in.ReadString('\n')
	}
	status, body := "200 OK", fmt.Sprintf("version=%s color=%s", mode["version"], os.Getenv("COLOR"))
	if strings.Contains(first, " /healthz ") {
		pause(mode["think"])
		if mode["sick"] != "" {
			status = "503 Service Unavailable"
		}
	}
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}

func pause(text string) {
	if d, err := time.ParseDuration(text); err == nil {
		time.Sleep(d)
	}
}
