"""The state kept between runs, the matching of jobs with requests, and the ports."""
