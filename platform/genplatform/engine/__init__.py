"""Where runs execute: the seam that the dispatcher calls, Ray and Ray Serve behind it, and a twin in this process."""
