// The agent of the control plane's stand-in, as a real pod: it asks the API server that it runs on for its
// version, reports that over HTTP, and again and again until it is told to go. See embedded/rafay/agent.py.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	// How long a check-in asks to be held, and how much longer its answer may take.
	hold, slack = 50, 15
	longestPause = 10 * time.Second
)

var errRefused = errors.New("the token is refused")

type agent struct {
	url, token string
	client     *http.Client
}

func main() {
	a := agent{
		url:    os.Getenv("RAFAY_ENDPOINT") + "/agent/v1/clusters/" + os.Getenv("RAFAY_CLUSTER_ID"),
		token:  os.Getenv("RAFAY_TOKEN"),
		client: &http.Client{Timeout: (hold + slack) * time.Second},
	}
	wait, version := 0, ""
	for {
		// Asked each time: a cluster whose API server does not answer is not healthy.
		version = patiently(kubernetesVersion)
		action := patiently(func() (string, error) {
			return a.post("checkin", map[string]any{"kubernetes_version": version, "wait": wait})
		})
		if action == "deregister" {
			patiently(func() (string, error) { return a.post("gone", map[string]any{}) })
			fmt.Println("deregistered")
			// Its Deployment would only start it again.
			select {}
		}
		if wait == 0 {
			fmt.Println("reported as", version)
		}
		wait = hold
	}
}

// patiently tries for ever, with growing pauses; a refused token ends the agent in peace.
func patiently(try func() (string, error)) string {
	for pause := 200 * time.Millisecond; ; pause = min(pause*2, longestPause) {
		answer, err := try()
		if err == nil {
			return answer
		}
		fmt.Println(err)
		if errors.Is(err, errRefused) {
			select {}
		}
		time.Sleep(pause)
	}
}

func (a agent) post(verb string, body any) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequest(http.MethodPost, a.url+"/"+verb, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", "application/json")
	var answer struct{ Action string }
	err = ask(a.client, request, &answer)
	return answer.Action, err
}

func kubernetesVersion() (string, error) {
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return "", err
	}
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	address := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	request, err := http.NewRequest(http.MethodGet, "https://"+address+"/version", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	var answer struct{ GitVersion string }
	err = ask(&http.Client{Transport: transport, Timeout: slack * time.Second}, request, &answer)
	return answer.GitVersion, err
}

func ask(client *http.Client, request *http.Request, answer any) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusUnauthorized {
		return errRefused
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	if len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, answer)
}
