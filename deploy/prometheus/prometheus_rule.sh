#!/usr/bin/env bash
# Prints the PrometheusRule of deploy/k8s/components/monitoring, made of rules/ration.yml; a test compares the two.
#
#   deploy/prometheus/prometheus_rule.sh > deploy/k8s/components/monitoring/prometheus_rule.yaml
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cat <<'TEXT'
# Made by deploy/prometheus/prometheus_rule.sh of deploy/prometheus/rules/ration.yml: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ration
spec:
TEXT
sed -n '/^groups:/,$ s/^\(.\)/  \1/p' "${1:-$here/rules/ration.yml}"
