package main

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// world is what decides who may talk to whom.
type world struct {
	pods       []*v1.Pod // with an address of their own
	namespaces map[string]labels.Set
	policies   []*networking.NetworkPolicy
}

// sort makes equal worlds give equal tables.
func (w *world) sort() {
	slices.SortFunc(w.pods, func(a, b *v1.Pod) int { return strings.Compare(a.Status.PodIP, b.Status.PodIP) })
	slices.SortFunc(w.policies, func(a, b *networking.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}

// table is the whole nftables table that enforces the policies.
//
// A packet between pods passes "forward", one from a pod to the node (the API server) "input"; both see addresses after
// a Service's translation. What the node itself sends (probes) is never judged; what comes from beyond it (the host, by
// a NodePort) is, with its own address.
// A pod that some policy isolates in a direction has a chain for it: a match returns, the end drops.
func (w *world) table() string {
	var chains strings.Builder
	var outbound, inbound []string
	for _, pod := range w.pods {
		for _, direction := range []networking.PolicyType{networking.PolicyTypeEgress, networking.PolicyTypeIngress} {
			rules, isolated := w.rules(pod, direction)
			if !isolated {
				continue
			}
			name := fmt.Sprintf("%s-%s", strings.ToLower(string(direction)), strings.ReplaceAll(pod.Status.PodIP, ".", "-"))
			fmt.Fprintf(&chains, "\tchain %s {\n", name)
			for _, rule := range rules {
				fmt.Fprintf(&chains, "\t\t%s return\n", rule)
			}
			chains.WriteString("\t\tcounter drop\n\t}\n")
			entry := fmt.Sprintf("%s : jump %s", pod.Status.PodIP, name)
			if direction == networking.PolicyTypeEgress {
				outbound = append(outbound, entry)
			} else {
				inbound = append(inbound, entry)
			}
		}
	}
	var table strings.Builder
	table.WriteString("table inet network-policies\ndelete table inet network-policies\ntable inet network-policies {\n")
	table.WriteString(chains.String())
	for _, hook := range []string{"forward", "input"} {
		fmt.Fprintf(&table, "\tchain %s {\n\t\ttype filter hook %s priority filter + 10; policy accept;\n", hook, hook)
		table.WriteString("\t\tct state established,related accept\n")
		if len(outbound) > 0 {
			fmt.Fprintf(&table, "\t\tip saddr vmap { %s }\n", strings.Join(outbound, ", "))
		}
		if len(inbound) > 0 && hook == "forward" {
			fmt.Fprintf(&table, "\t\tip daddr vmap { %s }\n", strings.Join(inbound, ", "))
		}
		table.WriteString("\t}\n")
	}
	table.WriteString("}\n")
	return table.String()
}

// rules are the matches that let a packet of this pod pass in one direction, and whether any policy isolates it there.
func (w *world) rules(pod *v1.Pod, direction networking.PolicyType) (rules []string, isolated bool) {
	for _, policy := range w.policies {
		if policy.Namespace != pod.Namespace || !applies(policy, direction) || !selects(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if direction == networking.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				addresses := w.addresses(policy.Namespace, rule.From, "saddr")
				for _, port := range portMatches(rule.Ports, pod) {
					rules = append(rules, join(addresses, port)...)
				}
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			rules = append(rules, w.egress(policy.Namespace, rule)...)
		}
	}
	return rules, isolated
}

// egress splits a rule: a port given by name is another number on each pod it leads to.
func (w *world) egress(namespace string, rule networking.NetworkPolicyEgressRule) (rules []string) {
	var numbered, named []networking.NetworkPolicyPort
	for _, port := range rule.Ports {
		if port.Port != nil && port.Port.StrVal != "" {
			named = append(named, port)
		} else {
			numbered = append(numbered, port)
		}
	}
	if len(numbered) > 0 || len(rule.Ports) == 0 {
		addresses := w.addresses(namespace, rule.To, "daddr")
		for _, port := range portMatches(numbered, nil) {
			rules = append(rules, join(addresses, port)...)
		}
	}
	for _, pod := range w.pods {
		if len(named) > 0 && w.leadsTo(namespace, rule.To, pod) {
			for _, port := range portMatches(named, pod) {
				rules = append(rules, fmt.Sprintf("ip daddr %s %s", pod.Status.PodIP, port))
			}
		}
	}
	return rules
}

// addresses are matches for the peers of a rule; no peers at all means everyone.
func (w *world) addresses(namespace string, peers []networking.NetworkPolicyPeer, side string) (matches []string) {
	if len(peers) == 0 {
		return []string{""}
	}
	var members []string
	for _, pod := range w.pods {
		if w.leadsTo(namespace, peers, pod) {
			members = append(members, pod.Status.PodIP)
		}
	}
	if len(members) > 0 {
		matches = append(matches, fmt.Sprintf("ip %s { %s }", side, strings.Join(members, ", ")))
	}
	for _, peer := range peers {
		if peer.IPBlock == nil || strings.Contains(peer.IPBlock.CIDR, ":") {
			continue
		}
		match := fmt.Sprintf("ip %s %s", side, peer.IPBlock.CIDR)
		if len(peer.IPBlock.Except) > 0 {
			match += fmt.Sprintf(" ip %s != { %s }", side, strings.Join(peer.IPBlock.Except, ", "))
		}
		matches = append(matches, match)
	}
	return matches
}

// leadsTo says whether one of the peers selects this pod.
func (w *world) leadsTo(namespace string, peers []networking.NetworkPolicyPeer, pod *v1.Pod) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networking.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return false
		}
		if peer.NamespaceSelector == nil {
			return pod.Namespace == namespace && selects(peer.PodSelector, pod.Labels)
		}
		return selects(peer.NamespaceSelector, w.namespaces[pod.Namespace]) &&
			(peer.PodSelector == nil || selects(peer.PodSelector, pod.Labels))
	})
}

// portMatches are matches for the ports of a rule; none at all means every port. Names are looked up on the target.
func portMatches(ports []networking.NetworkPolicyPort, target *v1.Pod) (matches []string) {
	if len(ports) == 0 {
		return []string{""}
	}
	for _, port := range ports {
		protocol := v1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		name := strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			matches = append(matches, "meta l4proto "+name)
		case port.Port.StrVal != "":
			for _, number := range numbersOf(target, port.Port.StrVal, protocol) {
				matches = append(matches, fmt.Sprintf("%s dport %d", name, number))
			}
		case port.EndPort != nil:
			matches = append(matches, fmt.Sprintf("%s dport %d-%d", name, port.Port.IntVal, *port.EndPort))
		default:
			matches = append(matches, fmt.Sprintf("%s dport %d", name, port.Port.IntVal))
		}
	}
	return matches
}

func numbersOf(pod *v1.Pod, name string, protocol v1.Protocol) (numbers []int32) {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name && (port.Protocol == protocol || port.Protocol == "" && protocol == v1.ProtocolTCP) {
				numbers = append(numbers, port.ContainerPort)
			}
		}
	}
	return numbers
}

func join(addresses []string, port string) (rules []string) {
	for _, address := range addresses {
		rules = append(rules, strings.TrimSpace(address+" "+port))
	}
	return rules
}

// applies says whether the policy isolates in this direction. Without types: ingress always, egress when it has rules.
func applies(policy *networking.NetworkPolicy, direction networking.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networking.PolicyTypeIngress || len(policy.Spec.Egress) > 0
}

func selects(selector *metav1.LabelSelector, set labels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}
