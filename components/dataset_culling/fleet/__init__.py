"""Many cameras on one cluster: cameras.yaml, when each is due, and what the cluster's recurring runs must become.

config.py    cameras.yaml, checked         schedule.py  local time to the server's cron
plan.py      wanted against found, pure    apply.py     doing it, camera by camera, in bounded parallel
"""
