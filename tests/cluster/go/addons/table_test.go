package main

import (
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func testPod(namespace, name, address string, ports ...v1.ContainerPort) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Ports: ports}}},
		Status:     v1.PodStatus{PodIP: address},
	}
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func port(value intstr.IntOrString) networking.NetworkPolicyPort {
	return networking.NetworkPolicyPort{Port: &value}
}

var (
	web    = testPod("one", "web", "10.0.0.1", v1.ContainerPort{Name: "http", ContainerPort: 8080})
	client = testPod("one", "client", "10.0.0.2")
	other  = testPod("two", "other", "10.0.0.3", v1.ContainerPort{Name: "http", ContainerPort: 9090})
)

func worldOf(spec networking.NetworkPolicySpec) *world {
	return &world{
		pods:       []*v1.Pod{web, client, other},
		namespaces: map[string]labels.Set{"one": {"team": "a"}, "two": {"team": "b"}},
		policies:   []*networking.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "p"}, Spec: spec}},
	}
}

// Ensures that each form of rule becomes the matches it stands for, on the pod it is about.
func TestRules(t *testing.T) {
	end := int32(90)
	udp := v1.ProtocolUDP
	everyone := &metav1.LabelSelector{}
	cases := map[string]struct {
		spec      networking.NetworkPolicySpec
		pod       *v1.Pod
		direction networking.PolicyType
		isolated  bool
		rules     []string
	}{
		"no rules deny all":             {networking.NetworkPolicySpec{}, web, networking.PolicyTypeIngress, true, nil},
		"no egress rules, no isolation": {networking.NetworkPolicySpec{}, web, networking.PolicyTypeEgress, false, nil},
		"another namespace":             {networking.NetworkPolicySpec{}, other, networking.PolicyTypeIngress, false, nil},
		"another pod":                   {networking.NetworkPolicySpec{PodSelector: *app("web")}, client, networking.PolicyTypeIngress, false, nil},
		"an empty rule allows all": {
			networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{{}}},
			web, networking.PolicyTypeIngress, true, []string{""},
		},
		"pods of the same namespace, port by name": {
			networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{{
				From:  []networking.NetworkPolicyPeer{{PodSelector: app("client")}},
				Ports: []networking.NetworkPolicyPort{port(intstr.FromString("http"))},
			}}},
			web, networking.PolicyTypeIngress, true, []string{"ip saddr { 10.0.0.2 } tcp dport 8080"},
		},
		"peers that select nobody allow nobody": {
			networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{{
				From: []networking.NetworkPolicyPeer{{PodSelector: app("nobody")}},
			}}},
			web, networking.PolicyTypeIngress, true, nil,
		},
		"namespaces by label": {
			networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{{
				From: []networking.NetworkPolicyPeer{{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}},
				}},
			}}},
			web, networking.PolicyTypeIngress, true, []string{"ip saddr { 10.0.0.3 }"},
		},
		"egress: a block less a part, a range of ports, any port of a protocol": {
			networking.NetworkPolicySpec{Egress: []networking.NetworkPolicyEgressRule{{
				To: []networking.NetworkPolicyPeer{{IPBlock: &networking.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8"}}}},
				Ports: []networking.NetworkPolicyPort{
					{Port: &intstr.IntOrString{IntVal: 80}, EndPort: &end},
					{Protocol: &udp},
				},
			}}},
			web, networking.PolicyTypeEgress, true, []string{
				"ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8 } tcp dport 80-90",
				"ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8 } meta l4proto udp",
			},
		},
		"egress: a port by name is each target's own": {
			networking.NetworkPolicySpec{Egress: []networking.NetworkPolicyEgressRule{{
				To:    []networking.NetworkPolicyPeer{{NamespaceSelector: everyone}},
				Ports: []networking.NetworkPolicyPort{port(intstr.FromString("http"))},
			}}},
			client, networking.PolicyTypeEgress, true, []string{
				"ip daddr 10.0.0.1 tcp dport 8080",
				"ip daddr 10.0.0.3 tcp dport 9090",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rules, isolated := worldOf(c.spec).rules(c.pod, c.direction)
			if isolated != c.isolated || !slices.Equal(rules, c.rules) {
				t.Errorf("isolated %v, rules %q; want %v, %q", isolated, rules, c.isolated, c.rules)
			}
		})
	}
}

// Ensures that only isolated pods are judged, and what comes in is judged on its way to pods alone.
func TestTable(t *testing.T) {
	table := worldOf(networking.NetworkPolicySpec{PodSelector: *app("web")}).table()
	if got := strings.Count(table, "ip daddr vmap { 10.0.0.1 : jump ingress-10-0-0-1 }"); got != 1 {
		t.Errorf("web is judged %d times:\n%s", got, table)
	}
	if strings.Contains(table, "10.0.0.2") || strings.Contains(table, "saddr vmap") {
		t.Errorf("others are judged:\n%s", table)
	}
}
