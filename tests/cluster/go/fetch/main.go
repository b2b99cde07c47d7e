// Command fetch prints what a URL answers, or with tcp://HOST:PORT only connects. For the toolbox image: Debian's static
// busybox cannot look up names in its wget.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	timeout := flag.Duration("timeout", 5*time.Second, "how long the whole of it may take")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: fetch [-timeout 5s] http://HOST:PORT/PATH | tcp://HOST:PORT")
		os.Exit(2)
	}
	if err := fetch(flag.Arg(0), *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

func fetch(url string, timeout time.Duration) error {
	if address, isTCP := strings.CutPrefix(url, "tcp://"); isTCP {
		connection, err := net.DialTimeout("tcp", address, timeout)
		if err != nil {
			return err
		}
		return connection.Close()
	}
	client := http.Client{Timeout: timeout}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}
